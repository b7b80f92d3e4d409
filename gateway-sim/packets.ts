import { generate, type Packet, type Parser, parser } from 'mqtt-packet';

/** No reply of a gateway is nearly as long. */
const longestPacket = 256 * 1024;

/** MQTT 3.1.1 (protocol level 4). */
const options = { protocolVersion: 4 };

export const encodePacket = (packet: Packet): Buffer => generate(packet, options);

let [shared, read]: [Parser | undefined, Packet[]] = [undefined, []];

/**
 * Takes the whole packets off the front of `bytes`. One parser serves all connections, since it only ever sees whole packets: a parser of
 * its own for each would cost a connection more memory than all the rest.
 * @throws Error when this is not MQTT
 */
export function takePackets(bytes: Buffer): { packets: Packet[]; rest: Buffer | undefined } {
  let end = 0;
  for (let length = packetLength(bytes, 0); length !== undefined; length = packetLength(bytes, end)) end += length;
  if (end === 0) return { packets: [], rest: bytes };
  read = [];
  try {
    shared ??= newParser();
    shared.parse(bytes.subarray(0, end));
  } catch (error) {
    // what it was in the middle of is not the next connection's
    shared = undefined;
    throw new Error(`this is not MQTT 3.1.1: ${(error as Error).message}`);
  }
  return { packets: read, rest: end === bytes.length ? undefined : bytes.subarray(end) };
}

function newParser(): Parser {
  const made = parser(options);
  made.on('packet', (packet) => read.push(packet));
  made.on('error', (error: unknown) => {
    throw error;
  });
  return made;
}

/** Bytes of the packet at `start`, with its header; undefined when it is not whole [MQTT-2.2.3]. */
function packetLength(bytes: Buffer, start: number): number | undefined {
  let [length, digits] = [0, 0];
  for (; ; digits++) {
    const digit = bytes[start + 1 + digits];
    if (digit === undefined) return undefined;
    length += (digit & 0x7f) * 128 ** digits;
    if (digit < 0x80) break;
    if (digits === 3) throw new Error('this is not MQTT: the length of a packet has more than four bytes');
  }
  if (length > longestPacket) throw new Error(`a packet of ${length} bytes came; a gateway sends none that long`);
  const whole = 2 + digits + length;
  return start + whole <= bytes.length ? whole : undefined;
}

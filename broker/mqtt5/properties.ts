import { createReader, malformed, type Reader } from '../listener/packet-reader.ts';
import { nameOfType } from '../listener/packet-types.ts';
import { codes } from './reason-codes.ts';

/*
 * mqtt-packet reads properties, too, and too kindly: it accepts a property that comes twice, one of another packet, values that the
 * standard forbids, and lengths beyond the end. Here each is told with its reason code. Writing is left to mqtt-packet.
 */

/** Text fields in MQTT 5. */
const clauses = { utf8: '1.5.4-1', control: '1.5.4-2' };

/** A client that sends the packets of MQTT 3.1.1 after a CONNECT of MQTT 5 sends none, and what follows is read as if it were properties. */
const lengthFirst =
  'in MQTT 5 the length of the properties comes before what follows them, a byte 0 where there are none [MQTT 5, 2.2.2.1]';

export const createReader5 = (body: Buffer, type: number): Reader =>
  createReader(body, { what: nameOfType(type), clauses, hint: `: ${lengthFirst}` });

/** A variable byte integer, in as few bytes as it takes [MQTT 5, 1.5.5]. */
export function readVariable(reader: Reader): number {
  let value = 0;
  for (let count = 0; count < 4; count++) {
    const byte = reader.byte();
    value += (byte & 0x7f) * 128 ** count;
    if (byte >= 0x80) continue;
    if (byte === 0 && count > 0) throw malformed('a variable byte integer has more bytes than it needs [MQTT-1.5.5-1]');
    return value;
  }
  throw malformed('a variable byte integer has more than 4 bytes [MQTT-1.5.5]');
}

const protocolError = (reason: string) => malformed(reason, { code: codes.protocolError });

function flag(reader: Reader, name: string): boolean {
  const value = reader.byte();
  if (value > 1) throw protocolError(`${name} is neither 0 nor 1`);
  return value === 1;
}

function notZero(value: number, name: string): number {
  if (value === 0) throw protocolError(`${name} is 0`);
  return value;
}

const uint32 = (reader: Reader): number => reader.bytes(4).readUInt32BE();

/** A User Property: read, so that it is well-formed, and of no use here. */
function userProperty(reader: Reader): undefined {
  reader.text('User Property');
  reader.text('User Property');
}

type Read = (reader: Reader, name: string) => unknown;

const text: Read = (reader, name) => reader.text(name);
const binary: Read = (reader) => reader.bytes(reader.uint16());

/** The properties that a client may send, by their identifiers [MQTT 5, 2.2.2.2]. */
const known: Readonly<Record<number, readonly [key: keyof Properties, name: string, read: Read]>> = {
  1: ['payloadIsText', 'Payload Format Indicator', flag],
  2: ['messageExpiry', 'Message Expiry Interval', uint32],
  3: ['contentType', 'Content Type', text],
  8: ['responseTopic', 'Response Topic', text],
  9: ['correlationData', 'Correlation Data', binary],
  11: ['subscriptionId', 'Subscription Identifier', (reader, name) => notZero(readVariable(reader), name)],
  17: ['sessionExpiry', 'Session Expiry Interval', uint32],
  21: ['authenticationMethod', 'Authentication Method', text],
  22: ['authenticationData', 'Authentication Data', binary],
  23: ['requestProblemInformation', 'Request Problem Information', flag],
  24: ['willDelay', 'Will Delay Interval', uint32],
  25: ['requestResponseInformation', 'Request Response Information', flag],
  28: ['serverReference', 'Server Reference', text],
  31: ['reasonString', 'Reason String', text],
  33: ['receiveMaximum', 'Receive Maximum', (reader, name) => notZero(reader.uint16(), name)],
  34: ['topicAliasMaximum', 'Topic Alias Maximum', (reader) => reader.uint16()],
  35: ['topicAlias', 'Topic Alias', (reader) => reader.uint16()],
  38: ['userProperty', 'User Property', userProperty],
  39: ['maximumPacketSize', 'Maximum Packet Size', (reader, name) => notZero(uint32(reader), name)],
};

/** Times in seconds, sizes in bytes. */
export type Properties = {
  payloadIsText?: boolean;
  messageExpiry?: number;
  contentType?: string;
  responseTopic?: string;
  correlationData?: Buffer;
  subscriptionId?: number;
  sessionExpiry?: number;
  authenticationMethod?: string;
  authenticationData?: Buffer;
  requestProblemInformation?: boolean;
  willDelay?: number;
  requestResponseInformation?: boolean;
  serverReference?: string;
  reasonString?: string;
  receiveMaximum?: number;
  topicAliasMaximum?: number;
  topicAlias?: number;
  userProperty?: undefined;
  maximumPacketSize?: number;
};

/** Which properties a packet of a client may have [MQTT 5, table 2-4]. */
export const allowed = {
  connect: [17, 21, 22, 23, 25, 33, 34, 38, 39],
  will: [1, 2, 3, 8, 9, 24, 38],
  publish: [1, 2, 3, 8, 9, 11, 35, 38],
  acknowledgement: [31, 38],
  subscribe: [11, 38],
  unsubscribe: [38],
  disconnect: [17, 28, 31, 38],
} as const;

const packetNames: Readonly<Record<keyof typeof allowed, string>> = {
  connect: 'CONNECT',
  will: 'the will',
  publish: 'PUBLISH',
  acknowledgement: 'an acknowledgement',
  subscribe: 'SUBSCRIBE',
  unsubscribe: 'UNSUBSCRIBE',
  disconnect: 'DISCONNECT',
};

/**
 * Reads the properties of a packet: their length, then each.
 * @throws `malformed` with 0x81 for one that the packet cannot have, with 0x82 for one that comes twice or has a forbidden value
 */
export function readProperties(packet: Reader, packetKind: keyof typeof allowed): Properties {
  const [length, left] = [readVariable(packet), packet.left()];
  if (length > left)
    throw malformed(
      `${packetNames[packetKind]} says that it has ${length} bytes of properties, and ${left} bytes follow: ${lengthFirst}`,
    );
  const reader = createReader(packet.bytes(length), { what: `a property of ${packetNames[packetKind]}`, clauses });
  const may: readonly number[] = allowed[packetKind];
  const found: Properties = {};
  while (reader.left() > 0) {
    const id = readVariable(reader);
    const property = known[id];
    if (property === undefined || !may.includes(id))
      throw malformed(
        `${packetNames[packetKind]} has a property that it cannot have, ${id} [MQTT 5, 2.2.2.2]: ${lengthFirst}`,
      );
    const [key, name, read] = property;
    if (key !== 'userProperty' && key in found) throw protocolError(`${name} comes twice`);
    Object.assign(found, { [key]: read(reader, name) });
  }
  return found;
}

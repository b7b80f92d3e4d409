import { connect, type TLSSocket } from 'node:tls';

/** An MQTT control packet as it came: the type and flags of its first byte, and its body. */
export type RawPacket = { readonly type: number; readonly flags: number; readonly body: Buffer };

export const text = (value: string) => {
  const raw = Buffer.from(value);
  return Buffer.concat([Buffer.from([raw.length >> 8, raw.length & 0xff]), raw]);
};

/** An MQTT control packet [MQTT 3.1.1, 2.2]. */
export function packet(header: number, ...parts: Buffer[]): Buffer {
  const body = Buffer.concat(parts);
  const length: number[] = [];
  let left = body.length;
  do {
    length.push((left & 127) | (left > 127 ? 128 : 0));
    left >>= 7;
  } while (left > 0);
  return Buffer.concat([Buffer.from([header, ...length]), body]);
}

/** CONNECT [MQTT-3.1]. `flags`: 0x02 clean session; `payload`: what they announce, after the client id. */
export const connectWith = (
  clientId: string,
  { flags = 0x02, keepalive = 60, payload = [] }: { flags?: number; keepalive?: number; payload?: Buffer[] } = {},
) => packet(0x10, text('MQTT'), Buffer.from([4, flags, keepalive >> 8, keepalive & 0xff]), text(clientId), ...payload);

export const subscribeTo = (topic: string, id = 1) =>
  packet(0x82, Buffer.from([id >> 8, id & 0xff]), text(topic), Buffer.from([1]));

/** With QoS 1. */
export const publishOf = (topic: string, payload: Buffer | string, { id = 2, retain = false } = {}) =>
  packet(0x32 | (retain ? 1 : 0), text(topic), Buffer.from([id >> 8, id & 0xff]), Buffer.from(payload));

/** Cuts what comes into packets. */
export function packetReader(onPacket: (packet: RawPacket) => void): (chunk: Buffer) => void {
  let rest: Buffer = Buffer.alloc(0);
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    for (;;) {
      let [length, at, more] = [0, 1, true];
      for (; more; at++) {
        const byte = rest[at];
        if (byte === undefined) return;
        length += (byte & 127) * 128 ** (at - 1);
        more = byte > 127;
      }
      if (rest.length < at + length) return;
      const [header = 0] = rest;
      onPacket({ type: header >> 4, flags: header & 15, body: rest.subarray(at, at + length) });
      rest = rest.subarray(at + length);
    }
  };
}

/** A TLS connection to a broker, over which a test writes what no client library would, and sees each packet that comes. */
export async function connectRaw({ port, caPem: ca }: { port: number; caPem: string }) {
  const socket: TLSSocket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca });
  socket.on('error', () => {});
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  const heard: RawPacket[] = [];
  socket.on(
    'data',
    packetReader((each) => heard.push(each)),
  );
  await new Promise<void>((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject));
  /** The first packet of this type. */
  async function next(type: number): Promise<RawPacket> {
    for (const end = Date.now() + 45_000; Date.now() < end; ) {
      const found = heard.find((each) => each.type === type);
      if (found !== undefined) return found;
      if (socket.closed) throw new Error(`the connection closed before a packet of type ${type} came`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    throw new Error(`no packet of type ${type} within 45 s`);
  }
  return { socket, heard, closed, next, send: (...packets: Buffer[]) => socket.write(Buffer.concat(packets)) };
}

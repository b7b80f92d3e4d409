import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';

/*
 * TLS 1.2 by hand (RFC 5246, RFC 4279, RFC 8422): OpenSSL's clients leave out what other stacks send, suites by pre-shared key
 * without a key among it.
 */

/** What a client offers, in its own order. */
export type Hello = {
  readonly suites: readonly number[];
  readonly groups?: readonly number[];
  /** absent: TLS 1.2, without the extension of TLS 1.3 */
  readonly versions?: readonly number[];
  /** 1: 512 bytes, up to 4: 4096 (RFC 6066 §4) */
  readonly maxFragment?: number;
  /** of pre-shared keys and tickets (RFC 8446 §4.2.11); the binders are wrong */
  readonly identities?: readonly string[];
  /** of ALPN (RFC 7301) */
  readonly protocols?: readonly string[];
  /** a session ticket of TLS 1.2 (RFC 5077 §3.2) */
  readonly ticket?: Buffer;
};

/** What the server chose. `group`: of its key exchange; undefined where there is none. */
export type Choice = {
  readonly suite: number;
  readonly group: number | undefined;
  /** lengths of what the server sent: its certificates in DER, and all its records */
  readonly certificateBytes: readonly number[];
  readonly recordBytes: readonly number[];
};

const [handshake, alert] = [22, 21];
const [serverHello, certificate, serverKeyExchange, serverHelloDone] = [2, 11, 12, 14];

const u16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const withLength16 = (data: Buffer) => Buffer.concat([u16(data.length), data]);
const text8 = (text: string) => Buffer.from(`${String.fromCharCode(text.length)}${text}`, 'latin1');
const list16 = (values: readonly number[]) => withLength16(Buffer.concat(values.map(u16)));
const extension = (type: number, data: Buffer) => Buffer.concat([u16(type), withLength16(data)]);

/** P-256, X25519, P-384 */
export const groups = { p256: 0x0017, x25519: 0x001d, p384: 0x0018 };

export function clientHello({
  suites,
  groups: offered = Object.values(groups),
  versions,
  maxFragment,
  identities,
  protocols,
  ticket,
}: Hello): Buffer {
  const extensions = Buffer.concat([
    extension(10, list16(offered)),
    extension(11, Buffer.from([1, 0])),
    extension(13, list16([0x0403, 0x0804, 0x0401])),
    ...(maxFragment === undefined ? [] : [extension(1, Buffer.from([maxFragment]))]),
    ...(protocols === undefined ? [] : [extension(16, withLength16(Buffer.concat(protocols.map(text8))))]),
    ...(ticket === undefined ? [] : [extension(35, ticket)]),
    ...(versions === undefined
      ? []
      : [extension(43, Buffer.concat([Buffer.from([2 * versions.length]), ...versions.map(u16)]))]),
    ...(identities === undefined ? [] : [extension(41, preSharedKeys(identities))]),
  ]);
  const body = Buffer.concat([
    u16(0x0303),
    randomBytes(32),
    Buffer.from([0]),
    list16(suites),
    Buffer.from([1, 0]),
    withLength16(extensions),
  ]);
  const message = Buffer.concat([Buffer.from([1, 0]), withLength16(body)]);
  return Buffer.concat([Buffer.from([handshake]), u16(0x0301), withLength16(message)]);
}

function preSharedKeys(identities: readonly string[]): Buffer {
  const [age, binder] = [Buffer.alloc(4), Buffer.concat([Buffer.from([32]), Buffer.alloc(32)])];
  const named = identities.map((identity) => Buffer.concat([withLength16(Buffer.from(identity, 'latin1')), age]));
  const binders = identities.map(() => binder);
  return Buffer.concat([withLength16(Buffer.concat(named)), withLength16(Buffer.concat(binders))]);
}

/**
 * Sends a ClientHello, reads up to ServerHelloDone, and ends the connection.
 * @param segments where to cut it, each piece in a segment of its own
 * @throws with the number of the alert, or when the server closes
 */
export function chosenFor(
  port: number,
  hello: Hello,
  localAddress = '127.0.0.1',
  segments: readonly number[] = [],
): Promise<Choice> {
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const socket = connect({ port, host: '127.0.0.1', localAddress }, () =>
      sendInSegments(socket, clientHello(hello), segments),
    );
    const end = (settle: () => void) => {
      socket.destroy();
      settle();
    };
    socket.on('error', reject).on('close', () => reject(new Error('closed')));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      const { messages, alertNumber, recordBytes } = read(received);
      if (alertNumber !== undefined) end(() => reject(new Error(`alert ${alertNumber}`)));
      else if (messages.has(serverHelloDone)) end(() => resolve({ ...choiceIn(messages), recordBytes }));
    });
  });
}

async function sendInSegments(socket: Socket, bytes: Buffer, cuts: readonly number[]): Promise<void> {
  socket.setNoDelay(true);
  for (const [index, begin] of [0, ...cuts].entries()) {
    socket.write(bytes.subarray(begin, cuts[index]));
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** The handshake messages in whole records. */
function read(data: Buffer) {
  const fragments: Buffer[] = [];
  const recordBytes: number[] = [];
  let alertNumber: number | undefined;
  for (let at = 0; at + 5 <= data.length && at + 5 + data.readUInt16BE(at + 3) <= data.length; ) {
    const fragment = data.subarray(at + 5, at + 5 + data.readUInt16BE(at + 3));
    recordBytes.push(fragment.length);
    if (data[at] === handshake) fragments.push(fragment);
    if (data[at] === alert) alertNumber = fragment[1];
    at += 5 + fragment.length;
  }
  const whole = Buffer.concat(fragments);
  const messages = new Map<number, Buffer>();
  for (let at = 0; at + 4 <= whole.length; ) {
    const end = at + 4 + whole.readUIntBE(at + 1, 3);
    if (end <= whole.length) messages.set(whole.readUInt8(at), whole.subarray(at + 4, end));
    at = end;
  }
  return { messages, alertNumber, recordBytes };
}

function choiceIn(messages: Map<number, Buffer>) {
  const hello = messages.get(serverHello) ?? Buffer.alloc(0);
  const suite = hello.readUInt16BE(2 + 32 + 1 + hello.readUInt8(34));
  const exchange = messages.get(serverKeyExchange);
  const group = exchange === undefined ? undefined : groupIn(exchange, suite);
  return { suite, group, certificateBytes: lengthsIn(messages.get(certificate)) };
}

/** A list of certificates, each after its length (RFC 5246 §7.4.2). */
function lengthsIn(list: Buffer | undefined): number[] {
  const lengths: number[] = [];
  for (let at = 3; list !== undefined && at < list.length; at += 3 + (lengths.at(-1) ?? 0))
    lengths.push(list.readUIntBE(at, 3));
  return lengths;
}

/** ECDHE-PSK's message begins with the server's hint (RFC 5489 §2). Then comes a 3, which stands for a named curve. */
function groupIn(exchange: Buffer, suite: number): number | undefined {
  const isPsk = suite === 0xccac || suite === 0xc037;
  const at = isPsk ? 2 + exchange.readUInt16BE(0) : 0;
  return exchange[at] === 3 ? exchange.readUInt16BE(at + 1) : undefined;
}

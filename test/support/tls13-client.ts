import { createCipheriv, createDecipheriv, createECDH, createHash, createHmac, randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { readDer } from '../../runtime/der.ts';

/*
 * A client of TLS 1.3 by hand (RFC 8446): it offers several identities at once, keys and tickets mixed and each with the binder that
 * a test wants, which no TLS library does.
 */

/** What a client offers as `pre_shared_key`. */
export type Identity = {
  readonly name: Buffer;
  readonly key: Buffer;
  readonly kind: 'key' | 'ticket';
};

const suites = {
  sha256: { number: 0x1301, hash: 'sha256', hashBytes: 32, cipher: 'aes-128-gcm', keyBytes: 16 },
  sha384: { number: 0x1302, hash: 'sha384', hashBytes: 48, cipher: 'aes-256-gcm', keyBytes: 32 },
} as const;
export type SuiteName = keyof typeof suites;
type Suite = (typeof suites)[SuiteName];

const [alert, handshake, applicationData] = [21, 22, 23];
const [serverHello, finished] = [2, 20];
const [supportedGroups, signatureAlgorithms, preSharedKey, supportedVersions, keyModes, keyShare] = [
  10, 13, 41, 43, 45, 51,
];
const [tls12, tls13, p256] = [0x0303, 0x0304, 0x0017];

const u8 = (value: number) => Buffer.from([value]);
const u16 = (value: number) => Buffer.from([value >> 8, value & 255]);
const with8 = (data: Buffer) => Buffer.concat([u8(data.length), data]);
const with16 = (data: Buffer) => Buffer.concat([u16(data.length), data]);
const extension = (type: number, data: Buffer) => Buffer.concat([u16(type), with16(data)]);
const message = (type: number, body: Buffer) => Buffer.concat([u8(type), u8(0), with16(body)]);
const record = (type: number, data: Buffer) => Buffer.concat([u8(type), u16(tls12), with16(data)]);

/** A ticket as OpenSSL keeps it: the key of a session of TLS 1.3 stands where the master key of TLS 1.2 did. */
export function ticketIn(session: Buffer): Identity {
  const [, , , , key, ...rest] = readDer(readDer(sessionOfOpenSsl(session))[0]?.content ?? Buffer.alloc(0));
  const [name] = readDer(rest.find(({ tag }) => tag === ticketTag)?.content ?? Buffer.alloc(0));
  if (key === undefined || name === undefined) throw new Error('this session has no ticket');
  return { name: name.content, key: key.content, kind: 'ticket' };
}

/** From Node.js 24.21 on, the name of the server stands before it: a mark, the length of the name in two bytes, the name. */
function sessionOfOpenSsl(session: Buffer): Buffer {
  if (!session.subarray(0, nameMark.length).equals(nameMark)) return session;
  return session.subarray(nameMark.length + 2 + session.readUInt16BE(nameMark.length));
}
const nameMark = Buffer.from('\0nodejs:tls:session:1\0');

/** [10] in OpenSSL's SSL_SESSION_ASN1 */
const ticketTag = 0xaa;

const hashOf = ({ hash }: Suite, data: Buffer) => createHash(hash).update(data).digest();
const hmac = ({ hash }: Suite, key: Buffer, data: Buffer) => createHmac(hash, key).update(data).digest();

/** §7.1; one block of HKDF-Expand is enough here */
function expandLabel(suite: Suite, secret: Buffer, label: string, context: Buffer, length: number = suite.hashBytes) {
  const info = Buffer.concat([u16(length), with8(Buffer.from(`tls13 ${label}`)), with8(context)]);
  return hmac(suite, secret, Buffer.concat([info, u8(1)])).subarray(0, length);
}
const derived = (suite: Suite, secret: Buffer, label: string, messages: Buffer) =>
  expandLabel(suite, secret, label, hashOf(suite, messages));
const earlySecret = (suite: Suite, key: Buffer) => hmac(suite, Buffer.alloc(suite.hashBytes), key);
const finishedOf = (suite: Suite, secret: Buffer, messages: Buffer) =>
  hmac(suite, expandLabel(suite, secret, 'finished', Buffer.alloc(0)), hashOf(suite, messages));

/** §4.2.11.2: the binders sign the message up to themselves. */
function clientHello(suite: Suite, share: Buffer, identities: readonly Identity[]): Buffer {
  const named = identities.map(({ name }) => Buffer.concat([with16(name), Buffer.alloc(4)]));
  const bindersBytes = identities.length * (1 + suite.hashBytes);
  const upToBinders = (binders: Buffer) =>
    message(
      1,
      Buffer.concat([
        u16(tls12),
        random,
        with8(sessionId),
        with16(u16(suite.number)),
        with8(u8(0)),
        with16(
          Buffer.concat([
            extension(supportedGroups, with16(u16(p256))),
            extension(signatureAlgorithms, with16(Buffer.concat([0x0403, 0x0804].map(u16)))),
            extension(supportedVersions, with8(u16(tls13))),
            extension(keyModes, with8(u8(1))),
            extension(keyShare, with16(Buffer.concat([u16(p256), with16(share)]))),
            extension(preSharedKey, Buffer.concat([with16(Buffer.concat(named)), with16(binders)])),
          ]),
        ),
      ]),
    );
  const [random, sessionId] = [randomBytes(32), randomBytes(32)];
  const signed = upToBinders(Buffer.alloc(bindersBytes)).subarray(0, -(2 + bindersBytes));
  const binders = identities.map(({ key, kind }) => {
    const label = kind === 'key' ? 'ext binder' : 'res binder';
    return with8(finishedOf(suite, derived(suite, earlySecret(suite, key), label, Buffer.alloc(0)), signed));
  });
  return upToBinders(Buffer.concat(binders));
}

/** §4.1.3 */
function readServerHello(body: Buffer) {
  let at = 2 + 32;
  at += 1 + body.readUInt8(at) + 2 + 1 + 2;
  let [share, selected]: [Buffer, number | undefined] = [Buffer.alloc(0), undefined];
  for (; at < body.length; at += 4 + body.readUInt16BE(at + 2)) {
    const type = body.readUInt16BE(at);
    if (type === keyShare) share = body.subarray(at + 8, at + 8 + body.readUInt16BE(at + 6));
    if (type === preSharedKey) selected = body.readUInt16BE(at + 4);
  }
  return { share, selected };
}

/** §5.2, in one direction */
function protection(suite: Suite, secret: Buffer) {
  const key = expandLabel(suite, secret, 'key', Buffer.alloc(0), suite.keyBytes);
  const iv = expandLabel(suite, secret, 'iv', Buffer.alloc(0), 12);
  let sequence = 0;
  const nonce = () => {
    const of = Buffer.from(iv);
    of.writeUInt32BE((of.readUInt32BE(8) ^ sequence++) >>> 0, 8);
    return of;
  };
  return {
    open(header: Buffer, data: Buffer): Buffer {
      const decipher = createDecipheriv(suite.cipher, key, nonce()).setAAD(header).setAuthTag(data.subarray(-16));
      return Buffer.concat([decipher.update(data.subarray(0, -16)), decipher.final()]);
    },
    seal(type: number, data: Buffer): Buffer {
      const plain = Buffer.concat([data, u8(type)]);
      const header = Buffer.concat([u8(applicationData), u16(tls12), u16(plain.length + 16)]);
      const cipher = createCipheriv(suite.cipher, key, nonce()).setAAD(header);
      return Buffer.concat([header, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
  };
}

/** What the server made of it: which identity it took, undefined for its certificate; or the number of its alert. */
export type Outcome = { readonly finished: true; readonly selected: number | undefined } | { readonly alert: number };

/** Shakes hands to the end with these identities on offer, and stays connected for a moment. @throws when the server just closes */
export function handshakeWith(port: number, suiteName: SuiteName, identities: readonly Identity[]): Promise<Outcome> {
  const client = startClient(suites[suiteName], identities);
  return new Promise((resolve, reject) => {
    let received = Buffer.alloc(0);
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(client.hello));
    const end = (outcome: Outcome) => {
      // what follows is for a client that goes on
      socket.removeAllListeners('data').resume();
      setTimeout(() => socket.destroy(), 200);
      resolve(outcome);
    };
    const fail = (error: Error) => {
      socket.destroy();
      reject(error);
    };
    socket.on('error', reject).on('close', () => reject(new Error('the server closed the connection')));
    socket.on('data', (data) => {
      received = Buffer.concat([received, data]);
      while (received.length >= 5 && received.length >= 5 + received.readUInt16BE(3)) {
        const length = 5 + received.readUInt16BE(3);
        try {
          const outcome = client.take(received.subarray(0, 5), received.subarray(5, length), (out) =>
            socket.write(out),
          );
          if (outcome !== undefined) end(outcome);
        } catch (error) {
          fail(error as Error);
        }
        received = received.subarray(length);
      }
    });
  });
}

function startClient(suite: Suite, identities: readonly Identity[]) {
  const ecdh = createECDH('prime256v1');
  let messages = clientHello(suite, ecdh.generateKeys(), identities);
  let flight = Buffer.alloc(0);
  let selected: number | undefined;
  let keys: { readonly client: Buffer; readonly server: ReturnType<typeof protection> } | undefined;

  function onServerHello(whole: Buffer): void {
    const hello = readServerHello(whole.subarray(4));
    selected = hello.selected;
    messages = Buffer.concat([messages, whole]);
    const psk = selected === undefined ? undefined : identities[selected]?.key;
    const early = earlySecret(suite, psk ?? Buffer.alloc(suite.hashBytes));
    const secret = hmac(suite, derived(suite, early, 'derived', Buffer.alloc(0)), ecdh.computeSecret(hello.share));
    const server = protection(suite, derived(suite, secret, 's hs traffic', messages));
    keys = { client: derived(suite, secret, 'c hs traffic', messages), server };
  }

  /** @returns whether the server has finished */
  function takeFlight(): boolean {
    while (flight.length >= 4 && flight.length >= 4 + flight.readUIntBE(1, 3)) {
      const whole = flight.subarray(0, 4 + flight.readUIntBE(1, 3));
      flight = flight.subarray(whole.length);
      messages = Buffer.concat([messages, whole]);
      if (whole[0] === finished) return true;
    }
    return false;
  }

  return {
    hello: record(handshake, messages),
    take(header: Buffer, data: Buffer, write: (out: Buffer) => void): Outcome | undefined {
      const [type] = header;
      if (type === alert) return { alert: data[1] ?? 0 };
      if (type === handshake && data[0] === serverHello) onServerHello(data);
      if (type !== applicationData || keys === undefined) return undefined;
      const inner = keys.server.open(header, data);
      if (inner.at(-1) === alert) return { alert: inner[1] ?? 0 };
      flight = Buffer.concat([flight, inner.subarray(0, -1)]);
      if (!takeFlight()) return undefined;
      const done = message(finished, finishedOf(suite, keys.client, messages));
      write(protection(suite, keys.client).seal(handshake, done));
      return { finished: true, selected };
    },
  };
}

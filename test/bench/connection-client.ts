import { hkdfSync } from 'node:crypto';
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls';
import { connectWith } from '../support/raw-mqtt.ts';

export type TlsVersion = 'TLSv1.2' | 'TLSv1.3';

/** How a client begins: with the server's certificate, with its own pre-shared key, or with a ticket of its last connection. */
export type Handshake = 'full' | 'psk' | 'ticket';

/** A device's pre-shared key, from its token. docs/protocol.md has the derivation. */
export type Psk = { readonly identity: string; readonly psk: Buffer };
export const pskOf = (serial: string, token: string): Psk => ({
  identity: serial,
  psk: Buffer.from(hkdfSync('sha256', token, serial, 'cvm-gateway tls psk v1', 32)),
});

export type Client = {
  readonly port: number;
  readonly ca: Buffer;
  readonly version: TlsVersion;
  readonly handshake: Handshake;
  /** of devices that take turns, for `psk` */
  readonly keys: readonly Psk[];
};

/** Each client has an id of its own: mosquitto closes an earlier one with the same. */
let clients = 0;
const connectPacket = () => connectWith(`bench-${++clients}`, { keepalive: 600 });
const connackType = 2;

/** Suites without a certificate: with others on offer a client might not use its key. */
const pskSuites = { 'TLSv1.2': 'PSK-AES128-GCM-SHA256', 'TLSv1.3': 'TLS_AES_128_GCM_SHA256' };

function tlsOptions({ version, handshake, keys, ca, port }: Client, turn: number): ConnectionOptions {
  const common = { port, host: '127.0.0.1', minVersion: version, maxVersion: version };
  const key = keys[turn % keys.length];
  if (handshake !== 'psk' || key === undefined) return { ...common, servername: 'localhost', ca };
  return {
    ...common,
    ciphers: pskSuites[version],
    pskCallback: () => ({ ...key, psk: Buffer.from(key.psk) }),
    checkServerIdentity: () => undefined,
  };
}

type Begin = {
  /** a ticket of an earlier connection */
  readonly session?: Buffer | undefined;
  onSession?(session: Buffer): void;
  /** the address to connect from: a gateway limits the connections of one address */
  readonly source?: string;
};

/** Connects, sends CONNECT and waits for CONNACK. */
export async function open(client: Client, turn: number, begin: Begin = {}): Promise<TLSSocket> {
  const { session, onSession = () => {}, source = '127.0.0.1' } = begin;
  const options = { ...tlsOptions(client, turn), localAddress: source };
  const socket = connect(session === undefined ? options : { ...options, session }).on('session', onSession);
  await new Promise<void>((resolve, reject) => {
    const ended = () => reject(new Error('the server closed the connection before CONNACK'));
    socket.once('error', reject).once('close', ended);
    socket.once('secureConnect', () => socket.write(connectPacket()));
    socket.once('data', (data: Buffer) => {
      socket
        .off('error', reject)
        .off('close', ended)
        .on('error', () => {});
      const [header = 0, , , code] = data;
      if (header >> 4 === connackType && code === 0) resolve();
      else reject(new Error(`the server answered CONNECT with ${data.toString('hex')}`));
    });
  });
  return socket;
}

export async function close(socket: TLSSocket): Promise<void> {
  const closed = new Promise((resolve) => socket.once('close', resolve));
  socket.end();
  await closed;
}

/**
 * Connects and closes `count` times, `lanes` at a time; for tickets once more for each lane, since the first has none.
 * @returns how many connections that were
 * @throws when a connection was not resumed that should be, or the other way round
 */
export async function connectMany(client: Client, count: number, lanes = 4): Promise<number> {
  let [turn, made] = [0, 0];
  async function lane(): Promise<void> {
    let session: Buffer | undefined;
    const onSession = (ticket: Buffer) => {
      session = ticket;
    };
    if (client.handshake === 'ticket') {
      await close(await open(client, turn, { onSession }));
      made++;
    }
    while (turn < count) {
      const offered = client.handshake === 'ticket' ? session : undefined;
      const socket = await open(client, turn++, { session: offered, onSession });
      if (client.handshake === 'ticket' && !socket.isSessionReused()) throw new Error('the ticket was not taken');
      await close(socket);
      made++;
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane));
  return made;
}

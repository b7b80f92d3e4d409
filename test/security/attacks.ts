import { randomBytes } from 'node:crypto';
import { connect as connectPlain, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectPacket, publishPacket } from '../fuzz/corpus.ts';

export type Target = { readonly port: number; readonly ca: string };
/** One attempt of an attacker; it ends when the broker closes it, or after its time. */
export type Attack = (target: Target, from: string, victim: string) => Promise<void>;

/** Waits until the other side has closed it, for at most this time. */
export async function untilCut(socket: Socket, ms: number): Promise<void> {
  await Promise.race([new Promise((resolve) => socket.once('close', resolve)), sleep(ms)]);
  socket.destroy();
}

export function plain({ port }: Target, from: string): Socket {
  const socket = connectPlain({ port, host: '127.0.0.1', localAddress: from });
  socket.on('error', () => {}).resume();
  return socket;
}

export async function secure(target: Target, from: string, tls: object = {}): Promise<TLSSocket> {
  const socket = connect({ socket: plain(target, from), ca: target.ca, servername: 'localhost', ...tls });
  socket.on('error', () => {}).resume();
  await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
  return socket;
}

/** Connects over MQTT and sends one more packet. */
const saying =
  (packets: (victim: string) => Buffer[], ms = 3000): Attack =>
  async (target, from, victim) => {
    const socket = await secure(target, from);
    socket.write(connectPacket);
    for (const packet of packets(victim)) socket.write(packet);
    await untilCut(socket, ms);
  };

const subscribe = (filter: string): Buffer => {
  const body = Buffer.concat([Buffer.from([0, 1, 0, filter.length]), Buffer.from(filter), Buffer.from([1])]);
  return Buffer.concat([Buffer.from([0x82, body.length]), body]);
};
const guess = (victim: string, id: number): Buffer =>
  publishPacket(
    requestTopic(victim),
    Buffer.from(JSON.stringify({ token: randomBytes(20).toString('base64url') })),
    id,
  );

export const attacks: readonly Attack[] = [
  // stays silent
  (target, from) => untilCut(plain(target, from), 5000),
  // begins a handshake and stops
  async (target, from) => {
    const socket = plain(target, from);
    socket.write(Buffer.from('1603010200010001fc0303', 'hex'));
    await untilCut(socket, 5000);
  },
  // no TLS at all
  async (target, from) => {
    const socket = plain(target, from);
    socket.write(randomBytes(512));
    await untilCut(socket, 2000);
  },
  // never sends its CONNECT
  async (target, from) => untilCut(await secure(target, from), 6000),
  // sends its CONNECT byte by byte
  async (target, from) => {
    const socket = await secure(target, from);
    for (const byte of connectPacket) {
      if (socket.destroyed) return;
      socket.write(Buffer.from([byte]));
      await sleep(400);
    }
    socket.destroy();
  },
  // sends its CONNECT and nothing else
  saying(() => [], 20_000),
  // announces 256 MiB
  async (target, from) => {
    const socket = await secure(target, from);
    socket.write(Buffer.concat([Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]), randomBytes(16_000)]));
    await untilCut(socket, 2000);
  },
  // sends bytes that are not MQTT
  async (target, from) => {
    const socket = await secure(target, from);
    socket.write(randomBytes(200));
    await untilCut(socket, 2000);
  },
  // subscribes to everything
  saying((victim) => [subscribe('#'), subscribe(`cvm/reply/${victim}`), subscribe('$SYS/#')]),
  // tries wrong tokens
  saying((victim) => Array.from({ length: 8 }, (_, index) => guess(victim, index + 1))),
  // hostile JSON
  saying((victim) => [
    publishPacket(requestTopic(victim), Buffer.from(`{"__proto__":{"token":"x"},"a":${'['.repeat(3000)}`), 1),
  ]),
  // publishes as the gateway
  saying((victim) => [publishPacket(`cvm/reply/${victim}`, Buffer.from('{"status":"accepted"}'), 1)]),
  // names the victim in the handshake
  async (target, from, victim) => {
    const psk = {
      pskCallback: () => ({ psk: Buffer.alloc(32), identity: victim }),
      checkServerIdentity: () => undefined,
    };
    await untilCut(await secure(target, from, psk), 1000);
  },
];

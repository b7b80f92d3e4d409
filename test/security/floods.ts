import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectWith, packet, publishOf, subscribeTo, text } from '../support/raw-mqtt.ts';
import { plain, secure, type Target } from './attacks.ts';

export type Blocked = { readonly serial: string; readonly token: string };

type FloodContext = {
  readonly target: Target;
  readonly blocked: Blocked;
  readonly slots: number;
  isOver(): boolean;
  /** of its attempts */
  count(): void;
};

/** `ready`: it does its worst from then on */
type Flood = (context: FloodContext) => { readonly ready: Promise<unknown>; readonly ended: Promise<unknown> };

/** Ten connections of one address without a token send one kind of packet as fast as they can. */
const sending =
  (make: () => Buffer): Flood =>
  (context) => {
    const bulk = Buffer.concat(Array.from({ length: 2000 }, make));
    const ended = Promise.all(Array.from({ length: 10 }, () => sendAgainAndAgain(bulk, context)));
    return { ready: sleep(1000), ended };
  };

async function sendAgainAndAgain(bulk: Buffer, { target, isOver, count }: FloodContext): Promise<void> {
  while (!isOver()) {
    const socket = await secure(target, '127.3.0.1');
    socket.write(connectWith('floods'));
    while (!isOver() && !socket.destroyed) {
      count();
      if (!socket.write(bulk)) await drained(socket, isOver);
    }
    socket.destroy();
    await sleep(200);
  }
}

async function drained(socket: Socket, isOver: () => boolean): Promise<void> {
  while (socket.writableNeedDrain && !socket.destroyed && !isOver()) await sleep(20);
}

const [idleAddresses, opening] = [5, 16];

/** The token of one blocked device, on more connections than there are slots, that say nothing after their CONNECT. */
const holdIdle: Flood = ({ target, blocked, slots, isOver, count }) => {
  const idleConnections = Math.ceil(1.05 * slots);
  const connect = connectWith('idle', {
    flags: 0xc2,
    keepalive: 600,
    payload: [text(blocked.serial), text(blocked.token)],
  });
  let opened = 0;
  let isFull = () => {};
  const ready = new Promise<void>((resolve) => {
    isFull = resolve;
  });
  const held = new Set<Socket>();
  const open = async (index: number) => {
    while (!isOver()) {
      if (held.size >= idleConnections) await sleep(200);
      else {
        count();
        const socket = await secure(target, `127.4.0.${1 + (index++ % idleAddresses)}`);
        socket.write(connect);
        held.add(socket.once('close', () => held.delete(socket)));
        if (++opened >= idleConnections) isFull();
        // one that was closed comes again, but not at the pace of a flood by handshakes
        if (opened > idleConnections) await sleep(1000);
      }
    }
    isFull();
  };
  const ended = Promise.all(Array.from({ length: opening }, (_, index) => open(index))).then(() => {
    for (const socket of held) socket.destroy();
  });
  return { ready, ended };
};

const [silentPerSecond, silentMs] = [300, 15_000];

/** TCP connections that say nothing, each from another address. */
const stayingSilent: Flood = ({ target, isOver, count }) => {
  const run = async () => {
    const open = new Set<Socket>();
    for (let index = 0; !isOver(); await sleep(100))
      for (let some = 0; some < silentPerSecond / 10; some++) {
        const number = index++ % 60_000;
        count();
        const socket = plain(target, `127.5.${number >> 8}.${1 + ((number & 255) % 254)}`);
        open.add(socket.once('close', () => open.delete(socket)));
        setTimeout(() => socket.destroy(), silentMs).unref();
      }
    for (const socket of open) socket.destroy();
  };
  return { ready: sleep(5000), ended: run() };
};

export const floods = {
  'PINGREQ as fast as ten connections can': sending(() => packet(0xc0)),
  'SUBSCRIBE as fast as ten connections can': sending(() => subscribeTo('some/other/topic')),
  '{} requests as fast as ten connections can': sending(() => publishOf(requestTopic('SN-flood'), '{}')),
  'idle connections of one blocked device': holdIdle,
  'silent TCP from rotating addresses': stayingSilent,
} satisfies Readonly<Record<string, Flood>>;

export type FloodName = keyof typeof floods;
export const floodNames = Object.keys(floods) as FloodName[];

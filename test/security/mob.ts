import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect as connectPlain, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, type TLSSocket } from 'node:tls';
import { requestTopic } from '../../protocol/topics.ts';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { startSite, until } from '../chaos/site.ts';
import { connectPacket, publishPacket } from '../fuzz/corpus.ts';
import { askOnce } from '../support/device.ts';
import { percentile } from './welch.ts';

type Target = { readonly port: number; readonly ca: string };
/** One attempt of an attacker; ends when it is cut, or has had enough. */
type Attack = (target: Target, from: string, victim: string) => Promise<void>;

const mib = 2 ** 20;
const honestDevices = 4;

/** Attackers of all kinds at once, each with an address of its own, while honest devices ask. */
export async function mob(
  { attackers, seconds, random }: { attackers: number; seconds: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  // as in the image: glibc's arenas, one for each thread, would keep what a flood once took
  const site = await startSite({ workers: 1, env: { LOG_LEVEL: 'error', MALLOC_ARENA_MAX: '2' } });
  try {
    const target = { port: site.gateway.port, ca: site.gateway.caPem };
    const devices = await site.enrol(Array.from({ length: honestDevices }, (_, index) => `honest-${index}`));
    const ask = ({ serial, token }: { serial: string; token: string }) =>
      askOnce({ port: target.port, caPem: target.ca }, serial, { token, key: 'ec' });
    for (const device of devices)
      await until(async () => (await ask(device).catch(() => undefined))?.status === 'accepted', 30_000, 'served once');

    /** How long each question took, in milliseconds; a failure counts as the time until it. */
    const honest = async (forMs: number) => {
      const took: number[] = [];
      let failed = 0;
      const end = Date.now() + forMs;
      const served = devices.map(async (device) => {
        while (Date.now() < end) {
          const started = performance.now();
          const reply = await ask(device).catch(() => undefined);
          if (reply?.status !== 'accepted') failed++;
          took.push(performance.now() - started);
          await sleep(50);
        }
      });
      await Promise.all(served);
      return { took, failed };
    };

    // peak against peak, both after a while: V8 takes its time to find how much heap the usual traffic needs
    const watched = watch(() => rss(site.broker.pid()));
    const calm = await honest(Math.min(120, seconds) * 1000);
    const calmRss = watched();
    say(
      `calm: p99 ${percentile(calm.took, 0.99).toFixed(0)} ms of ${calm.took.length} questions, ${(calmRss / mib).toFixed(0)} MiB`,
    );

    let [over, acts] = [false, 0];
    const peakOf = watch(() => rss(site.broker.pid()));
    const mobbing = Array.from({ length: attackers }, async (_, index) => {
      const from = `127.0.${1 + Math.floor(index / 250)}.${1 + (index % 250)}`;
      const attack = attacks[index % attacks.length] as Attack;
      await sleep(random.next() * 1000);
      while (!over) {
        acts++;
        await attack(target, from, devices[index % devices.length]?.serial ?? '').catch(() => {});
        await sleep(500 + random.next() * 1000);
      }
    });
    await sleep(2000);
    const attacked = await honest(seconds * 1000);
    over = true;
    const peak = peakOf();
    await Promise.all(mobbing);
    const [before, during] = [percentile(calm.took, 0.99), percentile(attacked.took, 0.99)];
    say(`${acts} attempts of ${attackers} attackers`);
    return [
      {
        name: `broker after ${attackers} attackers of ${attacks.length} kinds, ${seconds} s, ${acts} attempts`,
        value: site.broker.isRunning() ? 'runs' : 'gone',
        goal: 'runs',
        holds: site.broker.isRunning(),
      },
      {
        name: 'memory (RSS) above its calm level',
        value: `${((peak - calmRss) / mib).toFixed(0)} MiB`,
        goal: '≤ 64 MiB',
        holds: peak - calmRss <= 64 * mib,
      },
      {
        name: 'p99 of the honest devices',
        value: `${during.toFixed(0)} ms, ${before.toFixed(0)} ms when it is calm (${attacked.took.length} questions)`,
        goal: 'at most doubled',
        holds: during <= 2 * before,
      },
      {
        name: 'honest questions without their answer',
        value: String(attacked.failed),
        goal: '0',
        holds: attacked.failed === 0,
      },
    ];
  } finally {
    await site.close();
  }
}

/** Looks every now and then. @returns who is asked for the highest that was seen, and ends it */
function watch(look: () => number): () => number {
  let peak = look();
  const timer = setInterval(() => {
    peak = Math.max(peak, look());
  }, 200);
  return () => {
    clearInterval(timer);
    return Math.max(peak, look());
  };
}

function rss(pid: number | undefined): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

/** Waits until the other side has cut it, at most so long. */
async function untilCut(socket: Socket, ms: number): Promise<void> {
  await Promise.race([new Promise((resolve) => socket.once('close', resolve)), sleep(ms)]);
  socket.destroy();
}

function plain({ port }: Target, from: string): Socket {
  const socket = connectPlain({ port, host: '127.0.0.1', localAddress: from });
  socket.on('error', () => {}).resume();
  return socket;
}

async function secure(target: Target, from: string, tls: object = {}): Promise<TLSSocket> {
  const socket = connect({ socket: plain(target, from), ca: target.ca, servername: 'localhost', ...tls });
  socket.on('error', () => {}).resume();
  await new Promise((resolve) => socket.once('secureConnect', resolve).once('close', resolve));
  return socket;
}

/** Connected over MQTT, and something said. */
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

const attacks: readonly Attack[] = [
  // says nothing
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
  // sends its CONNECT, and nothing more
  saying(() => [], 20_000),
  // announces 256 MiB
  async (target, from) => {
    const socket = await secure(target, from);
    socket.write(Buffer.concat([Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]), randomBytes(16_000)]));
    await untilCut(socket, 2000);
  },
  // is not MQTT
  async (target, from) => {
    const socket = await secure(target, from);
    socket.write(randomBytes(200));
    await untilCut(socket, 2000);
  },
  // wants to hear everything
  saying((victim) => [subscribe('#'), subscribe(`cvm/reply/${victim}`), subscribe('$SYS/#')]),
  // guesses
  saying((victim) => Array.from({ length: 8 }, (_, index) => guess(victim, index + 1))),
  // hostile JSON
  saying((victim) => [
    publishPacket(requestTopic(victim), Buffer.from(`{"__proto__":{"token":"x"},"a":${'['.repeat(3000)}`), 1),
  ]),
  // speaks as the gateway
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

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { startSite, until } from '../chaos/site.ts';
import { askOnce } from '../support/device.ts';
import { kindsOfAttackers, type Mob } from './attackers.ts';
import { percentile } from './welch.ts';

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

    const peakOf = watch(() => rss(site.broker.pid()));
    const mobOf: Mob = {
      target,
      attackers,
      seed: Math.floor(random.next() * 2 ** 31),
      victims: devices.map(({ serial }) => serial),
    };
    const thread = new Worker(new URL('./attackers.js', import.meta.url), { workerData: mobOf });
    const mobbing = once(thread, 'message');
    await sleep(2000);
    const attacked = await honest(seconds * 1000);
    thread.postMessage('stop');
    const peak = peakOf();
    const [acts] = (await mobbing) as [number];
    const [before, during] = [percentile(calm.took, 0.99), percentile(attacked.took, 0.99)];
    say(`${acts} attempts of ${attackers} attackers`);
    return [
      {
        name: `broker after ${attackers} attackers of ${kindsOfAttackers} kinds, ${seconds} s, ${acts} attempts`,
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

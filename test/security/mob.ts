import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { startSite } from '../chaos/site.ts';
import { askOnce } from '../support/device.ts';
import { until } from '../support/network.ts';
import { kindsOfAttackers, type Mob } from './attackers.ts';
import { percentile } from './welch.ts';

const mib = 2 ** 20;
const honestDevices = 4;

/** Attackers of all kinds at once, each from its own address, while honest devices ask. */
export async function mob(
  { attackers, seconds, random }: { attackers: number; seconds: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  // as in the image: with one glibc arena for each thread, memory of a flood would never be returned
  const site = await startSite({ workers: 1, env: { LOG_LEVEL: 'error', MALLOC_ARENA_MAX: '2' } });
  try {
    const target = { port: site.gateway.port, ca: site.gateway.caPem };
    const devices = await site.enrol(Array.from({ length: honestDevices }, (_, index) => `honest-${index}`));
    const ask = ({ serial, token }: { serial: string; token: string }) =>
      askOnce({ port: target.port, caPem: target.ca }, serial, { token, key: 'ec' });
    for (const device of devices)
      await until(async () => (await ask(device).catch(() => undefined))?.status === 'accepted', 30_000, 'served once');

    /** Milliseconds of each request; a failed one counts until its failure. */
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

    // compares peaks after a while: V8 needs time to find the heap size for the usual traffic
    const watched = watch(() => rss(site.broker.pid()));
    const calm = await honest(Math.min(120, seconds) * 1000);
    const calmRss = watched();
    say(
      `calm: p99 ${percentile(calm.took, 0.99).toFixed(0)} ms of ${calm.took.length} requests, ${(calmRss / mib).toFixed(0)} MiB`,
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
        value: `${during.toFixed(0)} ms, ${before.toFixed(0)} ms when it is calm (${attacked.took.length} requests)`,
        goal: 'at most doubled',
        holds: during <= 2 * before,
      },
      {
        name: 'honest requests without an answer',
        value: String(attacked.failed),
        goal: '0',
        holds: attacked.failed === 0,
      },
    ];
  } finally {
    await site.close();
  }
}

/** Samples at intervals. @returns a function that stops sampling and returns the highest value */
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

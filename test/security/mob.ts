import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { figuresOf } from './alone.ts';
import { startAttackedSite } from './attacked-site.ts';
import { attacks } from './attacks.ts';
import { floodNames } from './floods.ts';
import { percentile } from './welch.ts';

const mib = 2 ** 20;
const readyMs = 10_000;

/** Attackers of all kinds at once, each from its own address, and all that go on, while honest devices ask. */
export async function mob(
  { attackers, seconds, slots, random }: { attackers: number; seconds: number; slots: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const attacked = await startAttackedSite(random, slots);
  const { broker } = attacked.site;
  try {
    // compares peaks after a while: V8 needs time to find the heap size for the usual traffic
    const watched = watch(() => rss(broker.pid()));
    const calm = await attacked.honest(Math.min(120, seconds) * 1000);
    const calmRss = watched();
    say(
      `calm: p99 ${percentile(calm.took, 0.99).toFixed(0)} ms of ${calm.took.length} requests, ${(calmRss / mib).toFixed(0)} MiB`,
    );

    const peakOf = watch(() => rss(broker.pid()));
    const end = await attacked.attack({ attackers, floods: floodNames, readyMs, forMs: 60_000 + seconds * 1000 });
    await sleep(2000);
    const during = await attacked.honest(seconds * 1000);
    const acts = await end();
    const peak = peakOf();
    const kinds = attacks.length + floodNames.length;
    say(`${acts} attempts of ${attackers} attackers, and of ${floodNames.length} that go on`);
    return [
      {
        name: `broker after ${attackers} attackers of ${kinds} kinds, ${seconds} s, ${acts} attempts`,
        value: broker.isRunning() ? 'runs' : 'gone',
        goal: 'runs',
        holds: broker.isRunning(),
      },
      {
        name: 'memory (RSS) above its calm level',
        value: `${((peak - calmRss) / mib).toFixed(0)} MiB`,
        goal: '≤ 64 MiB',
        holds: peak - calmRss <= 64 * mib,
      },
      ...figuresOf('all at once', calm, during),
    ];
  } finally {
    await attacked.close();
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

import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { figuresOf, type Round } from './alone.ts';
import { type Honest, startAttackedSite } from './attacked-site.ts';
import { attacks } from './attacks.ts';
import { floodNames } from './floods.ts';
import { watchOthers } from './others.ts';
import { percentile } from './welch.ts';

const mib = 2 ** 20;
const readyMs = 10_000;

/**
 * Attackers of all kinds at once, each from its own address, and all that go on, while honest devices ask.
 * @param options `seconds` of calm and of attack, in all, shared by the rounds: the machine is not the same all the time
 */
export async function mob(
  options: { attackers: number; seconds: number; rounds: number; slots: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const { attackers, seconds, slots, random } = options;
  const attacked = await startAttackedSite(random, slots);
  const { broker } = attacked.site;
  const eachMs = (seconds * 1000) / options.rounds;
  try {
    await attacked.warmUp();
    const othersOf = await watchOthers(attacked.pids);
    const rounds: Round[] = [];
    let [calmRss, peak, acts] = [0, 0, 0];
    while (rounds.length < options.rounds) {
      const watched = watch(() => rss(broker.pid()));
      const calm = await attacked.honest(eachMs);
      // what an attack took is not all given back: calm is what was there before the first one
      if (rounds.length === 0) calmRss = watched();
      else watched();
      const peakOf = watch(() => rss(broker.pid()));
      const end = await attacked.attack({ attackers, floods: floodNames, readyMs, forMs: 60_000 + eachMs });
      await sleep(2000);
      const during = await attacked.honest(eachMs);
      acts += await end();
      peak = Math.max(peak, peakOf());
      rounds.push({ calm, during });
      const p99 = ({ took }: Honest) => `p99 ${percentile(took, 0.99).toFixed(0)} ms of ${took.length} requests`;
      say(`round ${rounds.length}: calm ${p99(calm)}, attacked ${p99(during)}`);
      // until the broker has closed what the attackers held
      await sleep(2000);
    }
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
      ...figuresOf('all at once', rounds),
      await othersOf(),
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

import type { Figure } from '../chaos/figures.ts';
import type { Random } from '../chaos/random.ts';
import { type Honest, startAttackedSite } from './attacked-site.ts';
import { floodNames } from './floods.ts';
import { watchOthers } from './others.ts';
import { percentile } from './welch.ts';

/** In milliseconds: for thousands of handshakes. */
const readyMs = 60_000;

/**
 * Each attacker that goes on by itself, while honest devices ask, as a ratio to the calm right before it: what else the machine
 * does changes within minutes.
 */
export async function alone(
  { seconds, slots, random }: { seconds: number; slots: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const attacked = await startAttackedSite(random, slots);
  try {
    await attacked.warmUp();
    say(row('attacker', 'p50', 'p99', 'requests', 'failed', 'attempts'));
    const figures: Figure[] = [];
    const othersOf = await watchOthers(attacked.pids);
    for (const name of floodNames) {
      const calm = await attacked.honest(seconds * 1000);
      say(rowOf('calm', calm, 0));
      const end = await attacked.attack({
        attackers: 0,
        floods: [name],
        readyMs,
        forMs: 60_000 + readyMs + seconds * 1000,
      });
      const during = await attacked.honest(seconds * 1000);
      say(rowOf(name, during, await end()));
      figures.push(...figuresOf(name, [{ calm, during }]));
    }
    return [...figures, await othersOf()];
  } finally {
    await attacked.close();
  }
}

/** The honest devices before an attack, and under it. */
export type Round = { readonly calm: Honest; readonly during: Honest };

/** What an attack must not do to the honest devices. Of several rounds the median counts: one in which the machine did something else does not. */
export function figuresOf(name: string, rounds: readonly Round[]): Figure[] {
  const p99s = rounds.map(({ calm, during }) => [percentile(calm.took, 0.99), percentile(during.took, 0.99)] as const);
  const median = percentile(
    p99s.map(([before, after]) => after / before),
    0.5,
  );
  const each = p99s.map(([before, after]) => `${after.toFixed(0)} ms, ${before.toFixed(0)} ms`).join('; ');
  const sum = (of: (round: Round) => number) => rounds.reduce((total, round) => total + of(round), 0);
  const failed = sum(({ during }) => during.failed);
  return [
    {
      name: `p99 of the honest devices: ${name}`,
      value: `${median.toFixed(1)} times that of calm (${each}; ${sum(({ during }) => during.took.length)} requests)`,
      goal: 'at most doubled',
      holds: median <= 2,
    },
    {
      name: `honest requests without an answer: ${name}`,
      value: String(failed),
      goal: '0',
      holds: failed === 0,
    },
  ];
}

function rowOf(name: string, { took, failed }: Honest, attempts: number): string {
  const ms = (share: number) => `${percentile(took, share).toFixed(0)} ms`;
  return row(name, ms(0.5), ms(0.99), String(took.length), String(failed), String(attempts));
}

const row = (name: string, ...cells: readonly string[]) =>
  name.padEnd(44) + cells.map((cell) => cell.padStart(10)).join('');

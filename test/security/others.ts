import { readFile } from 'node:fs/promises';
import { cpuMs } from '../bench/processes.ts';
import type { Figure } from '../chaos/figures.ts';

/** More of the machine than this, and times of a run say something about the other programs. */
const mostShare = 0.1;

/**
 * Counts what other programs of this machine take of its CPU, which no time of a run shows by itself: where they took half of two cores, p99 of the honest
 * devices under attack was 1 s instead of 0.12.
 * @param pids the processes of the run besides this one
 * @returns a function that ends the count
 */
export async function watchOthers(pids: readonly number[]): Promise<() => Promise<Figure>> {
  const before = await look(pids);
  return async () => {
    const after = await look(pids);
    const share = Math.max(0, after.busy - before.busy - (after.ours - before.ours)) / (after.all - before.all);
    return {
      name: 'CPU of the machine that other programs took: above the goal, times say nothing of the broker',
      value: `${(share * 100).toFixed(0)} %`,
      goal: `≤ ${mostShare * 100} %`,
      holds: share <= mostShare,
    };
  };
}

/** Milliseconds of CPU of all cores, so far. */
async function look(pids: readonly number[]): Promise<{ busy: number; all: number; ours: number }> {
  const [line = ''] = (await readFile('/proc/stat', 'utf8')).split('\n', 1);
  const [user = 0, nice = 0, system = 0, idle = 0, waiting = 0, irq = 0, softIrq = 0, stolen = 0] = line
    .split(/ +/)
    .slice(1)
    .map((ticks) => Number(ticks) * 10);
  // interrupts of our own connections are counted for no process
  const busy = user + nice + system + stolen;
  const ours = await Promise.all([process.pid, ...pids].map(cpuMs));
  return {
    busy,
    all: busy + idle + waiting + irq + softIrq,
    ours: ours.reduce((sum, each) => sum + each, 0),
  };
}

import type { Progress } from '../../gateway-sim/simulate.ts';
import { startProgress } from '../progress.ts';

/**
 * One line: a bar of 30 characters, counts, rate, the time that is left, and the simulator's own CPU; while no device is answered also why, and
 * the cure: a wrong CA or port would else be seen when the time limit of the devices is over, after ten minutes.
 * @param cureOf a reason that an attempt failed
 */
export function showProgress(total: number, cureOf: (reason: string) => string | undefined = () => undefined) {
  let last: Progress = { done: 0, accepted: 0, refused: 0, waiting: 0, open: 0 };
  const ownCpu = cpuMeter();
  const progress = startProgress((perSecond) => {
    const { done, accepted, refused, waiting, lastFailure } = last;
    if (lastFailure !== undefined && accepted + refused + waiting === 0)
      return failing(last, total, lastFailure, cureOf);
    const share = total === 0 ? 1 : done / total;
    const bar = '█'.repeat(Math.round(share * 30)).padEnd(30, '░');
    const rate = perSecond(done);
    const left = rate > 0 && done < total ? `, ${Math.ceil((total - done) / rate)} s left` : '';
    return `${bar} ${done}/${total} devices, ${accepted} accepted, ${refused} refused, ${waiting} waiting, ${rate.toFixed(1)}/s${left}, simulator's own CPU ${ownCpu()} %`;
  });
  return {
    set(progress: Progress): void {
      last = progress;
    },
    end: progress.end,
  };
}

function failing(
  { done }: Progress,
  total: number,
  reason: string,
  cureOf: (reason: string) => string | undefined,
): string {
  const cure = cureOf(reason);
  return `${done}/${total} devices; no attempt came through: ${reason}${cure === undefined ? '' : `: ${cure}`}`;
}

/** Percent of one core since it was last asked. */
function cpuMeter(): () => number {
  let [usage, at] = [process.cpuUsage(), performance.now()];
  return () => {
    const { user, system } = process.cpuUsage(usage);
    const share = (user + system) / 1000 / Math.max(1, performance.now() - at);
    [usage, at] = [process.cpuUsage(), performance.now()];
    return Math.round(share * 100);
  };
}

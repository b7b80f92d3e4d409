import type { LineView } from '../queue/line.ts';
import type { Log } from '../runtime/log.ts';

/** A request that has waited for so long has been seen by a worker, where there is one: each reports once a second while any waits. Milliseconds. */
const seenByThenMs = 4000;

/** A worker that reported in these seconds is there. */
const reportSeconds = 3;

/** Looks, one a second, that find no worker, until that is said. A worker that starts again takes less. */
const patience = 10;

/** Milliseconds: how often it is logged, and for how long a health check is told after the last look. Devices that leave come back in two minutes at most. */
const [logMs, holdMs] = [60_000, 180_000];

const cure =
  'start a worker (cvm worker) with the same REDIS_URL; where one runs, look at its log, and at cvm health --trouble worker.trouble';

export type AbsentWorkers = ReturnType<typeof createAbsentWorkers>;

/**
 * Says, while requests wait and no worker takes them, that this is so: in the log and to a health check. Devices hear only that they have to wait, and no
 * worker is there to say anything.
 * @param now milliseconds of a monotonic clock
 */
export function createAbsentWorkers(log: Log, now: () => number = () => performance.now()) {
  let looks = 0;
  let said: { at: number; logged: number } | undefined;

  function present(): void {
    looks = 0;
    if (said !== undefined) log.info('a worker takes requests again');
    said = undefined;
  }

  return {
    /** Called once a second while requests wait. @param longestMs how long the first of this broker has waited, in milliseconds */
    look({ second, seconds, length }: LineView, longestMs: number): void {
      if (seconds.some((each) => each.second >= second - reportSeconds)) {
        present();
        return;
      }
      // while the line is empty, workers report nothing
      if (length === 0 || longestMs < seenByThenMs || ++looks < patience) return;
      const logged = said?.logged ?? Number.NEGATIVE_INFINITY;
      said = { at: now(), logged };
      if (now() - logged < logMs) return;
      said.logged = now();
      log.error({ waiting: length, cure }, 'requests wait, and no worker takes them');
    },
    trouble: (): string | undefined =>
      said !== undefined && now() - said.at < holdMs ? `requests wait, and no worker takes them; ${cure}` : undefined,
  };
}

import type { LineState } from '../queue/line.ts';
import type { Log } from '../runtime/log.ts';

/** The wait from which the line counts as long, the wait below which it is short again, and how often it is logged in between. */
const [longSeconds, shortSeconds, everyMs] = [10, 5, 30_000];

/**
 * Says in the log while requests wait for long: how many, for how many seconds, and how many this worker answers in a second. In a storm
 * every single device is in the log; that there is a line, and how fast it goes on, would be nowhere.
 * @param now milliseconds of a monotonic clock
 */
export function createLineLog(log: Log, now: () => number = () => performance.now()) {
  let answered = 0;
  let saidAt: number | undefined;
  const say = ({ length, oldestSeconds }: LineState, figures: { perSecond?: number }) => {
    [saidAt, answered] = [now(), 0];
    log.info({ waiting: length, oldestSeconds: Math.round(oldestSeconds), ...figures }, 'requests wait in line');
  };
  return {
    answered: () => void answered++,
    /** Called once a second. */
    look(line: LineState): void {
      if (saidAt === undefined) {
        if (line.oldestSeconds >= longSeconds) say(line, {});
        return;
      }
      if (line.oldestSeconds < shortSeconds) {
        saidAt = undefined;
        log.info({ waiting: line.length }, 'the line is short again');
        return;
      }
      const ms = now() - saidAt;
      if (ms >= everyMs) say(line, { perSecond: Number(((answered * 1000) / ms).toFixed(1)) });
    },
  };
}

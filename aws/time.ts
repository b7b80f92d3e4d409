import type { Log } from '../runtime/log.ts';

/** A clock that differs by less counts as right; the SDK corrects the times of its signatures from the same difference on. Milliseconds. */
const toleranceMs = 300_000;

export type AwsTime = ReturnType<typeof createAwsTime>;

/**
 * The time by which rows of the table are judged, in epoch milliseconds: that of this machine, and where it is far from the `Date`
 * of AWS's answers, that of AWS. Every gateway and every operator of a table sees the same clock of AWS, so a token does not
 * expire early, and no replay window ends early, because one machine has no NTP.
 */
export function createAwsTime(options: { log: Log; wall?: () => number; monotonic?: () => number }) {
  const { log, wall = () => Date.now(), monotonic = () => performance.now() } = options;
  /** AWS's time, and when it was heard */
  let heard: { readonly time: number; readonly at: number } | undefined;
  let saidOffMs = 0;

  return {
    now(): number {
      const shown = wall();
      if (heard === undefined) return shown;
      // since then, the wall clock may have been set. Whole milliseconds, as those of the wall clock: rows have no others
      const ofAws = Math.round(heard.time + monotonic() - heard.at);
      return Math.abs(ofAws - shown) > toleranceMs ? ofAws : shown;
    },
    /** Whether an answer of AWS was seen: before that, the clock of this machine is all there is. */
    isKnown: (): boolean => heard !== undefined,
    /** How far the clock of this machine is ahead of AWS's, in milliseconds, which AWS tells in whole seconds; undefined before an answer. */
    offMs: (): number | undefined =>
      heard === undefined ? undefined : Math.round(wall() - (heard.time + monotonic() - heard.at)),
    /** @param date the `Date` header of an answer that came just now */
    hear(date: string | undefined): void {
      const time = Date.parse(date ?? '');
      if (Number.isNaN(time)) return;
      heard = { time, at: monotonic() };
      const offMs = Math.round(wall() - time);
      if (Math.abs(offMs) <= toleranceMs) {
        if (saidOffMs !== 0) log.info('the clock of this machine agrees with that of AWS again');
        saidOffMs = 0;
      } else if (Math.abs(offMs - saidOffMs) > toleranceMs) {
        saidOffMs = offMs;
        log.warn(
          { offMs },
          `the clock of this machine is ${offMs < 0 ? 'behind' : 'ahead of'} that of AWS: set it, best by NTP. Until then rows are judged by the time of AWS`,
        );
      }
    },
  };
}

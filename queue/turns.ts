/** `inMs`: from now, in milliseconds. */
export type Turn = { readonly outcome: 'taken' | 'refused'; readonly inMs: number };

/**
 * Lets so many a second through, in the order in which they come; a second's worth may come at once. Counts in this process, by
 * its monotonic clock.
 * @param longestWaitMs a turn that is farther away is refused, and not taken
 */
export function createTurns(perSecond: number, longestWaitMs: number, now: () => number = () => performance.now()) {
  const [eachMs, burstMs] = [1000 / perSecond, 1000];
  let takenUntil = Number.NEGATIVE_INFINITY;
  return {
    /** Takes the next turn; the caller waits until it comes. */
    take(): Turn {
      const time = now();
      const end = Math.max(takenUntil, time) + eachMs;
      const inMs = Math.max(0, Math.ceil(end - time - burstMs));
      if (inMs > longestWaitMs) return { outcome: 'refused', inMs };
      takenUntil = end;
      return { outcome: 'taken', inMs };
    },
  };
}

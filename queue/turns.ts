/** `inMs`: from now, in milliseconds. */
export type Turn = { readonly outcome: 'taken' | 'refused'; readonly inMs: number };

/** So many times the turns that are still free may those of one address be that wait: one that takes all it can get leaves a fifth of the line to others. */
const timesFree = 4;

/**
 * Lets so many a second through, in the order in which they come; a second's worth may come at once. Counts in this process, by
 * its monotonic clock.
 * @param longestWaitMs a turn that is farther away is refused, and not taken
 */
export function createTurns(perSecond: number, longestWaitMs: number, now: () => number = () => performance.now()) {
  const [eachMs, burstMs] = [1000 / perSecond, 1000];
  let takenUntil = Number.NEGATIVE_INFINITY;
  /** turns that have not come yet, in their order, and how many they are by address */
  const waiting: { readonly address: string; readonly at: number }[] = [];
  const countOf = new Map<string, number>();

  function count(address: string, change: 1 | -1): void {
    const next = (countOf.get(address) ?? 0) + change;
    if (next > 0) countOf.set(address, next);
    else countOf.delete(address);
  }

  function forgetBefore(time: number): void {
    while (waiting[0] !== undefined && waiting[0].at <= time)
      count((waiting.shift() as { address: string }).address, -1);
  }

  const hasShare = (address: string) =>
    (countOf.get(address) ?? 0) < timesFree * (longestWaitMs / eachMs - waiting.length);

  return {
    /** Takes the next turn; the caller waits until it comes. @param address what limits count an attempt under */
    take(address: string): Turn {
      const time = now();
      forgetBefore(time);
      const end = Math.max(takenUntil, time) + eachMs;
      const inMs = Math.max(0, Math.ceil(end - time - burstMs));
      if (inMs > longestWaitMs || (inMs > 0 && !hasShare(address))) return { outcome: 'refused', inMs };
      takenUntil = end;
      if (inMs > 0) {
        waiting.push({ address, at: time + inMs });
        count(address, 1);
      }
      return { outcome: 'taken', inMs };
    },
  };
}

/** How many may come at once, and how many a second after that. */
export type Rate = { readonly burst: number; readonly perSecond: number };

export type TokenBucket = ReturnType<typeof createTokenBucket>;

/** @param now milliseconds of a clock that is never set */
export function createTokenBucket(rate: Rate, now: () => number) {
  let { burst, perSecond } = rate;
  let [left, at] = [burst, now()];

  function refill(): void {
    const time = now();
    left = Math.min(burst, left + ((time - at) / 1000) * perSecond);
    at = time;
  }

  return {
    /** @returns whether there was one left */
    take(): boolean {
      if (left < 1) refill();
      if (left < 1) return false;
      left--;
      return true;
    },
    /** until there is one; 0 when there is one now */
    waitMs(): number {
      if (left < 1) refill();
      return left < 1 ? Math.ceil(((1 - left) / perSecond) * 1000) : 0;
    },
    /** until it is full again */
    fullMs(): number {
      refill();
      return Math.ceil(((burst - left) / perSecond) * 1000);
    },
    /** What was taken stays taken. */
    setRate(to: Rate): void {
      if (to.burst === burst && to.perSecond === perSecond) return;
      refill();
      left = Math.max(0, left + to.burst - burst);
      ({ burst, perSecond } = to);
    },
  };
}

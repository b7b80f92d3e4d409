/** How long one attempt at a certificate has before another may take it up, in milliseconds. The id of its claim keeps the older one
 * from writing. */
export const usualLeaseMs = 10_000;

/**
 * A lease that ends later than this was written by a clock that was far ahead, and counts as over: the device would wait until
 * the other clocks get there. The clocks of two workers may differ by the length of a lease. Epoch milliseconds.
 */
export const latestLeaseEnd = (now: number, leaseMs: number): number => now + 2 * leaseMs;

/**
 * From then on the request of an attempt may take it up itself: the queue gives a request to a second worker when the first has been
 * silent for longer than this. Sooner, two workers at one request would overtake each other for ever, each with its calls to AWS.
 */
export const takeoverEnd = (now: number, leaseMs: number): number => now + 0.7 * leaseMs;

/** Whether an attempt holds the row until `leaseUntil`. */
export const isHeld = (leaseUntil: number | undefined, now: number, leaseMs: number): boolean =>
  leaseUntil !== undefined && leaseUntil > now && leaseUntil <= latestLeaseEnd(now, leaseMs);

/** How many requests are under way at most before AWS has answered a call. */
const first = 4;
/** How much room each answered call makes: a request has five calls, so those under way double while one is served. */
const growth = 0.35;
/** After so long with nothing under way others of the account may have begun. Milliseconds. */
const restMs = 20_000;

export type SlowStart = {
  /** Waits for room, one caller at a time. @returns false when the signal came first; else `leave` must follow */
  enter(signal?: AbortSignal): Promise<boolean>;
  /** AWS made a call. */
  answered(): void;
  /** AWS throttled a call. */
  throttled(): void;
  leave(): void;
};

/**
 * Room for requests under way: little after a rest, more with every answer, and after a throttled call half of those under way, as TCP
 * has it (RFC 5681, section 3.1). When five sites have their power back at once, each gateway believes that it has the whole quota, and
 * hears of the others at its first throttled call only. If that call is late, on a busy machine or a slow line, everything let through
 * until then would be throttled as well.
 */
export function createSlowStart(now: () => number): SlowStart {
  let [room, underWay, restsSince] = [first, 0, now()];
  let wake = (): void => {};

  const changed = (signal: AbortSignal | undefined) =>
    new Promise<void>((resolve) => {
      wake = () => {
        signal?.removeEventListener('abort', wake);
        resolve();
      };
      signal?.addEventListener('abort', wake, { once: true });
    });

  return {
    async enter(signal) {
      if (underWay === 0 && now() - restsSince >= restMs) room = first;
      while (underWay >= room && signal?.aborted !== true) await changed(signal);
      if (signal?.aborted === true) return false;
      underWay++;
      return true;
    },
    answered() {
      room += growth;
      wake();
    },
    throttled() {
      room = Math.max(first, Math.min(room, underWay) / 2);
    },
    leave() {
      underWay--;
      restsSince = now();
      wake();
    },
  };
}

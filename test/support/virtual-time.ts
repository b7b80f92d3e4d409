/** Time that passes only while everybody waits for it: an hour of it takes a moment. Milliseconds. */
export function createVirtualTime() {
  let now = 0;
  const timers: { readonly at: number; readonly wake: () => void }[] = [];

  return {
    now: () => now,
    sleep(ms: number, signal?: AbortSignal): Promise<void> {
      return new Promise((resolve, reject) => {
        const at = now + Math.max(0, ms);
        const abort = () => {
          timers.splice(timers.indexOf(timer), 1);
          reject(new Error('aborted'));
        };
        const wake = () => {
          signal?.removeEventListener('abort', abort);
          resolve();
        };
        const timer = { at, wake };
        const index = timers.findIndex((other) => other.at > at);
        timers.splice(index < 0 ? timers.length : index, 0, timer);
        signal?.addEventListener('abort', abort, { once: true });
      });
    },
    /** Lets time pass until the work is done. */
    async until<T>(work: Promise<T>): Promise<T> {
      let over = false;
      const ended = work.finally(() => {
        over = true;
      });
      ended.catch(() => {});
      for (;;) {
        await new Promise((resolve) => setImmediate(resolve));
        if (over) return ended;
        const next = timers.shift();
        if (next === undefined) throw new Error('everybody waits for something that is not time');
        now = next.at;
        next.wake();
        while (timers[0]?.at === now) timers.shift()?.wake();
      }
    },
  };
}

export type VirtualTime = ReturnType<typeof createVirtualTime>;

/** The same numbers from 0 to 1 for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

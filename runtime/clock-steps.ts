import type { Log } from './log.ts';
import { earliest, isPlausible } from './plausible-time.ts';

/** How often the two clocks are compared, and from which difference on the wall clock was set. Milliseconds. */
const [usualEveryMs, leastStepMs] = [1000, 1000];

export type ClockSteps = ReturnType<typeof createClockSteps>;

/**
 * Notices when the wall clock was set: it is compared with the monotonic clock, which goes forward evenly. A machine that
 * was suspended looks like one whose clock was set forward. Watches from the first `follow` on.
 */
export function createClockSteps(options: { log: Log; wall?: () => number; monotonic?: () => number }) {
  const { log, wall = () => Date.now(), monotonic = () => performance.now() } = options;
  const followers: ((byMs: number) => void)[] = [];
  let timer: NodeJS.Timeout | undefined;
  let apart = 0;

  function start(): void {
    if (!isPlausible(wall()))
      log.warn(
        { earliest: new Date(earliest.time).toISOString() },
        'the clock of this machine is wrong, since this version was made later: set it, best by NTP. Until then no certificate of this site is taken for old, and new ones are dated as of that day',
      );
    apart = wall() - monotonic();
    timer = setInterval(compare, usualEveryMs);
    timer.unref();
  }

  function compare(): void {
    if (timer === undefined) return;
    const byMs = Math.round(wall() - monotonic() - apart);
    if (Math.abs(byMs) < leastStepMs) return;
    apart += byMs;
    log.warn({ byMs }, `the clock of this machine was set ${byMs < 0 ? 'back' : 'forward'}`);
    for (const act of followers) act(byMs);
  }

  return {
    name: 'clock steps',
    /** @param act gets the milliseconds by which the clock was set forward, negative ones when it was set back */
    follow(act: (byMs: number) => void): void {
      followers.push(act);
      if (timer === undefined) start();
    },
    /** Compares now, for a decision that cannot wait until the step is noticed. */
    look: compare,
    async close(): Promise<void> {
      clearInterval(timer);
    },
  };
}

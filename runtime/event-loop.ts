import { monitorEventLoopDelay } from 'node:perf_hooks';
import type { Log } from './log.ts';

/** How often the loop is looked at, and how long a window is, in milliseconds. Each look wakes a process that is idle. */
const [resolutionMs, usualWindowMs] = [50, 10_000];

/** A shorter delay makes no difference to a device. */
const lateMs = 50;

/**
 * Measures how late the event loop comes to what it has to do, in windows of ten seconds. A window that is late has a line in the log:
 * then this process has more work than one core can do, or the machine has.
 */
export function watchEventLoop({ log, windowMs = usualWindowMs }: { log: Log; windowMs?: number }) {
  const delays = monitorEventLoopDelay({ resolution: resolutionMs });
  // nanoseconds between two looks, the pause among them
  const inMs = (nanoseconds: number) => Math.max(0, Math.round(nanoseconds / 1e6) - resolutionMs);
  let p99Ms = 0;
  delays.enable();
  const timer = setInterval(() => {
    p99Ms = inMs(delays.percentile(99));
    if (p99Ms > lateMs)
      log.warn({ p99Ms, maxMs: inMs(delays.max) }, 'the event loop is late: there is more work than one core can do');
    delays.reset();
  }, windowMs).unref();

  return {
    name: 'event loop',
    /** of the last window: 1 of 100 looks came later than this */
    p99Seconds: () => p99Ms / 1000,
    async close() {
      clearInterval(timer);
      delays.disable();
    },
  };
}

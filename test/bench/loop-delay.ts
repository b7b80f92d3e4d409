import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/*
 * Loaded into a broker before its program (`node --import`). SIGUSR2 begins anew; once a second it writes how late the event loop was
 * since then, as JSON in milliseconds.
 */
const resolutionMs = 10;
const delay = monitorEventLoopDelay({ resolution: resolutionMs });
delay.enable();
process.on('SIGUSR2', () => delay.reset());

// a sample is the whole interval between two looks, of which the resolution is no delay
const lateMs = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolutionMs);

setInterval(() => {
  const file = process.env.BENCH_LOOP_DELAY;
  if (file !== undefined)
    writeFileSync(
      `${file}-${process.pid}.json`,
      JSON.stringify({ p50: lateMs(delay.percentile(50)), p99: lateMs(delay.percentile(99)), max: lateMs(delay.max) }),
    );
}, 1000).unref();

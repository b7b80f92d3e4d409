import { writeFileSync } from 'node:fs';
import { monitorEventLoopDelay } from 'node:perf_hooks';

/*
 * Loaded into a broker before its program (`node --import`). SIGUSR2 begins anew; once a second it writes how late the event loop was
 * since then, as JSON in milliseconds. `own` is the part of it in which the broker worked: the rest of the time other processes had its
 * core, as the simulator has in the same run.
 */
const resolutionMs = 10;
const delay = monitorEventLoopDelay({ resolution: resolutionMs });
delay.enable();

// a sample is the whole interval between two looks, of which the resolution is no delay
const lateMs = (nanoseconds: number) => Math.max(0, nanoseconds / 1e6 - resolutionMs);

let own: number[] = [];
let [lastAt, lastCpu] = [performance.now(), process.cpuUsage()];
setInterval(() => {
  const now = performance.now();
  const { user, system } = process.cpuUsage(lastCpu);
  own.push(Math.max(0, Math.min(now - lastAt - resolutionMs, (user + system) / 1000)));
  [lastAt, lastCpu] = [now, process.cpuUsage()];
}, resolutionMs).unref();

process.on('SIGUSR2', () => {
  delay.reset();
  own = [];
});

function ownP99(): number {
  const ascending = Float64Array.from(own).sort();
  return ascending[Math.floor(ascending.length * 0.99)] ?? 0;
}

setInterval(() => {
  const file = process.env.BENCH_LOOP_DELAY;
  if (file === undefined) return;
  const { p50, p99, max } = { p50: delay.percentile(50), p99: delay.percentile(99), max: delay.max };
  writeFileSync(
    `${file}-${process.pid}.json`,
    JSON.stringify({ p50: lateMs(p50), p99: lateMs(p99), max: lateMs(max), own: ownP99() }),
  );
}, 1000).unref();

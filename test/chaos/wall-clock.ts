import { readFileSync } from 'node:fs';

/*
 * Preloaded into a process (`node --import`): its wall clock is ahead of the machine's by as many milliseconds as the file
 * CHAOS_CLOCK_FILE says, which may change while it runs. The monotonic clock, which timers and
 * `performance.now()` go by, is left alone, as it is when the clock of a machine steps.
 */

const { CHAOS_CLOCK_FILE: file } = process.env;
const pollMs = 20;
let aheadMs = 0;

if (file !== undefined) {
  const read = () => {
    try {
      aheadMs = Number(readFileSync(file, 'utf8'));
    } catch {
      // the clock has not stepped yet
    }
  };
  read();
  setInterval(read, pollMs).unref();
}

const RealDate = Date;
const now = (): number => RealDate.now() + aheadMs;

globalThis.Date = new Proxy(RealDate, {
  construct: (target, given, newTarget) => Reflect.construct(target, given.length === 0 ? [now()] : given, newTarget),
  apply: () => new RealDate(now()).toString(),
  get: (target, name, receiver) => (name === 'now' ? now : Reflect.get(target, name, receiver)),
});

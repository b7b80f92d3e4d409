import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../runtime/log.ts';

/** How often it looks, and how often at most it logs. Milliseconds. */
const usualTimes = { lookMs: 5000, logMs: 60_000 };

const cure =
  'raise CVM_MAX_CONNECTIONS, or CVM_MAX_CONNECTIONS_PER_ADDRESS where many devices come from one address; or stop the machines that hold the slots';

/**
 * Says, while devices are turned away for lack of slots, that they are: in `<dataDir>/broker.trouble`, for `cvm health`, and
 * in the log. The port answers all the same, so without this a health check would see nothing.
 * @param turnedAway connections since the start
 */
export function reportTrouble(options: {
  dataDir: string;
  turnedAway(): number;
  log: Log;
  times?: Partial<typeof usualTimes>;
}) {
  const { dataDir, turnedAway, log } = options;
  const { lookMs, logMs } = { ...usualTimes, ...options.times };
  const file = join(dataDir, 'broker.trouble');
  let [seen, logged] = [turnedAway(), turnedAway()];
  let loggedAt = Number.NEGATIVE_INFINITY;

  function look(): void {
    const count = turnedAway();
    if (count > seen) keep(`the broker turns devices away for lack of slots; ${cure}\n`);
    seen = count;
    const time = performance.now();
    if (count === logged || time - loggedAt < logMs) return;
    log.warn({ connections: count - logged, cure }, 'turning devices away for lack of slots');
    [logged, loggedAt] = [count, time];
  }

  function keep(text: string): void {
    try {
      writeFileSync(file, text);
    } catch (err) {
      log.debug({ err }, 'the trouble could not be written down');
    }
  }

  // what an earlier process wrote is over
  rmSync(file, { force: true });
  const timer = setInterval(look, lookMs);
  timer.unref();
  return {
    name: 'trouble report',
    async close() {
      clearInterval(timer);
      rmSync(file, { force: true });
    },
  };
}

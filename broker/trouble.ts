import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Log } from '../runtime/log.ts';
import type { TurnedAwayCounts } from './listener/listener.ts';

/** How often it looks, and how often at most it logs. Milliseconds. */
const usualTimes = { lookMs: 5000, logMs: 60_000 };

const stop = 'stop the machines that hold the slots';
/** By the limit that was reached. */
const cures = {
  total: `raise CVM_MAX_CONNECTIONS, or ${stop}`,
  address: `raise CVM_MAX_CONNECTIONS_PER_ADDRESS where many devices come from one address, or ${stop}`,
};

/**
 * Says, while devices are turned away for lack of slots, that they are: in `<dataDir>/broker.trouble`, for `cvm health`, and
 * in the log. The port answers all the same, so without this a health check would see nothing.
 * @param turnedAway connections since the start
 */
export function reportTrouble(options: {
  dataDir: string;
  turnedAway(): TurnedAwayCounts;
  log: Log;
  times?: Partial<typeof usualTimes>;
}) {
  const { dataDir, turnedAway, log } = options;
  const { lookMs, logMs } = { ...usualTimes, ...options.times };
  const file = join(dataDir, 'broker.trouble');
  let [seen, logged] = [turnedAway(), turnedAway()];
  let loggedAt = Number.NEGATIVE_INFINITY;

  function look(): void {
    const counts = turnedAway();
    const cure = cureOf(counts, seen);
    seen = counts;
    if (cure !== undefined) keep(`the broker turns devices away for lack of slots; ${cure}\n`);
    const connections = sum(counts) - sum(logged);
    const time = performance.now();
    if (connections === 0 || time - loggedAt < logMs) return;
    if (cure === undefined)
      log.info({ connections }, 'devices were turned away for lack of slots, and are not any more');
    else log.warn({ connections, cure }, 'turning devices away for lack of slots');
    [logged, loggedAt] = [counts, time];
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

const sum = ({ total, address }: TurnedAwayCounts) => total + address;

/** Of the limits that turned devices away since `before`; undefined when none did. */
function cureOf(counts: TurnedAwayCounts, before: TurnedAwayCounts): string | undefined {
  const reached = (['total', 'address'] as const).filter((limit) => counts[limit] > before[limit]);
  return reached.length === 0 ? undefined : reached.map((limit) => cures[limit]).join('; and ');
}

import type { Log } from '../runtime/log.ts';
import type { TurnedAwayCounts } from './listener/listener.ts';

/** Milliseconds: how often at most it logs, and for how long it tells of a device that was turned away. */
const [logMs, holdMs] = [60_000, 15_000];

const stop = 'stop the machines that hold the slots';
/** By the limit that was reached. */
const cures = {
  total: `raise CVM_MAX_CONNECTIONS, or ${stop}`,
  address: `raise CVM_MAX_CONNECTIONS_PER_ADDRESS where many devices come from one address, or ${stop}`,
};

/**
 * Says, while devices are turned away for lack of slots, that they are: to a health check, which calls this every few seconds, and in
 * the log. The port answers all the same, so without this a health check would see nothing.
 * @param turnedAway connections since the start
 */
export function watchSlots({ turnedAway, log }: { turnedAway(): TurnedAwayCounts; log: Log }) {
  let [seen, logged] = [turnedAway(), turnedAway()];
  let loggedAt = Number.NEGATIVE_INFINITY;
  let trouble: { readonly text: string; readonly at: number } | undefined;

  function report(counts: TurnedAwayCounts, cure: string | undefined, time: number): void {
    const connections = sum(counts) - sum(logged);
    if (connections === 0 || time - loggedAt < logMs) return;
    if (cure === undefined)
      log.info({ connections }, 'devices were turned away for lack of slots, and are not any more');
    else log.warn({ connections, cure }, 'turning devices away for lack of slots');
    [logged, loggedAt] = [counts, time];
  }

  return (): string | undefined => {
    const [counts, time] = [turnedAway(), performance.now()];
    const cure = cureOf(counts, seen);
    seen = counts;
    report(counts, cure, time);
    if (cure !== undefined) trouble = { text: `the broker turns devices away for lack of slots; ${cure}`, at: time };
    return trouble !== undefined && time - trouble.at < holdMs ? trouble.text : undefined;
  };
}

const sum = ({ total, address }: TurnedAwayCounts) => total + address;

/** Of the limits that turned devices away since `before`; undefined when none did. */
function cureOf(counts: TurnedAwayCounts, before: TurnedAwayCounts): string | undefined {
  const reached = (['total', 'address'] as const).filter((limit) => counts[limit] > before[limit]);
  return reached.length === 0 ? undefined : reached.map((limit) => cures[limit]).join('; and ');
}

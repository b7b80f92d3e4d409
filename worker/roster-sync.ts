import { randomUUID } from 'node:crypto';
import type { RosterEntry, RosterStore } from '../queue/roster.ts';
import type { Changes } from '../registry/changes.ts';
import type { Devices } from '../registry/devices.ts';
import type { Restoration } from '../registry/restoration.ts';
import type { Log } from '../runtime/log.ts';
import { createOutageLog } from '../runtime/outage-log.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import { type GatewayRegister, listOf } from './gateway-register.ts';
import { fingerprint, rosterEntryOf } from './roster-entry.ts';

/** How often the table is polled for announcements, and compared as a whole. Milliseconds. */
const usualTimes = { pollMs: 2000, wholeMs: 3_600_000, leaseMs: 60_000 };

export type RosterSyncTimes = typeof usualTimes;

/** After this number of polls an announcement without its second write is given up: its writer has died. */
const patience = 5;

type RosterSyncDeps = {
  readonly registry: Pick<Devices, 'find' | 'list'>;
  readonly changes: Pick<Changes, 'latest' | 'read'>;
  readonly gateways: Pick<GatewayRegister, 'note'>;
  readonly restoration: Pick<Restoration, 'note'>;
  readonly roster: RosterStore;
  readonly replayWindowMs: number;
};

/**
 * Keeps the site's roster in line with the table: announced changes within seconds, all others within the hour. One worker of
 * a site does it at a time; two at once would write the same. Every worker also notes in the table which gateways are here, and
 * publishes the table's key to them.
 */
export function startRosterSync(
  options: RosterSyncDeps & { log: Log; now(): number; times?: Partial<RosterSyncTimes>; holder?: string },
) {
  const { changes, gateways, restoration, roster, log, now, holder = randomUUID() } = options;
  const times = { ...usualTimes, ...options.times };
  let recorded: ReadonlyMap<string, number> = new Map();
  let waited = 0;
  let closed = false;
  let timer: NodeJS.Timeout | undefined;

  async function recordGateways(): Promise<void> {
    const found = await roster.gateways(now());
    const fresh = found.filter(({ gateway, at }) => recorded.get(gateway.id) !== at);
    if (fresh.length === 0) return;
    const known = await gateways.note(fresh);
    await roster.publishGatewayList(listOf(known));
    recorded = new Map(found.map(({ gateway, at }) => [gateway.id, at]));
  }

  async function follow(): Promise<void> {
    await roster.publishTableKey();
    await recordGateways();
    if (!(await roster.lead(holder, times.leaseMs))) return;
    await copyRows(await roster.takeRequestedLookups(), options);
    const position = await roster.position();
    const latest = await changes.latest();
    if (position !== undefined && latest < position.change) await noteRestored(position.change, latest);
    // a time ahead was written before the clock was set back
    const isRecent = (at: number) => Math.abs(now() - at) < times.wholeMs;
    const compareAll = position === undefined || latest < position.change || !isRecent(position.wholeAt);
    if (compareAll) return compareAllRows(latest);
    for (let number = position.change + 1; number <= latest; number++) {
      const announced = await changes.read(number);
      if (announced === 'not-yet' && waited++ < patience) return;
      if (typeof announced === 'string') return compareAllRows(latest);
      waited = 0;
      await copyRows(announced, options);
      await roster.setPosition({ change: number, wholeAt: position.wholeAt });
    }
  }

  /** The number of announcements never goes back by itself. */
  async function noteRestored(seen: number, latest: number): Promise<void> {
    await restoration.note(now());
    log.warn({ seen, latest }, restored);
  }

  async function compareAllRows(latest: number): Promise<void> {
    waited = 0;
    const started = now();
    const { size, changed, gone } = await reconcile(options, () => roster.lead(holder, times.leaseMs));
    await roster.setPosition({ change: latest, wholeAt: started });
    log.info({ devices: size, changed, gone, ms: now() - started }, 'the roster was compared with the table');
  }

  const outage = createOutageLog(log, {
    away: 'the roster cannot be brought up to date; trying again until it can',
    back: 'the roster is brought up to date again',
  });
  let running: Promise<void> = Promise.resolve();
  function plan(ms: number): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = follow()
        .then(outage.succeeded, (error: unknown) =>
          outage.failed(error, error instanceof UpstreamRefused ? error.cure : undefined),
        )
        .then(() => plan(times.pollMs));
    }, ms);
  }
  plan(0);
  return {
    name: 'roster sync',
    async close() {
      closed = true;
      clearTimeout(timer);
      await running;
    },
  };
}

const restored =
  'the table is older than it was: it was restored from a backup, or CVM_TABLE names another one. Devices may have certificates that it does not name; see docs/restoring.md';

async function copyRows(
  serials: readonly string[],
  { registry, roster, replayWindowMs }: RosterSyncDeps,
): Promise<void> {
  const rows = await inBatches(serials, 32, async (serial) => [serial, await registry.find(serial)] as const);
  const entries = rows.flatMap(([, device]) => (device === undefined ? [] : [rosterEntryOf(device, replayWindowMs)]));
  await roster.write(
    entries,
    rows.filter(([, device]) => device === undefined).map(([serial]) => serial),
  );
}

/** Compares the whole table with the roster and writes the differences. */
async function reconcile({ registry, roster, replayWindowMs }: RosterSyncDeps, extendLease: () => Promise<unknown>) {
  const old = new Map<string, string>();
  for await (const page of roster.pages()) for (const entry of page) old.set(entry.serial, fingerprint(entry));
  let [size, changed] = [0, 0];
  let batch: RosterEntry[] = [];
  const flush = async () => {
    await roster.write(batch, []);
    batch = [];
    await extendLease();
  };
  for await (const device of registry.list()) {
    const entry = rosterEntryOf(device, replayWindowMs);
    size++;
    const known = old.get(entry.serial);
    old.delete(entry.serial);
    if (known === fingerprint(entry)) continue;
    changed++;
    if (batch.push(entry) >= 500) await flush();
  }
  await flush();
  await roster.write([], [...old.keys()]);
  return { size, changed, gone: old.size };
}

async function inBatches<T, U>(items: readonly T[], size: number, act: (item: T) => Promise<U>): Promise<U[]> {
  const done: U[] = [];
  for (let start = 0; start < items.length; start += size)
    done.push(...(await Promise.all(items.slice(start, start + size).map(act))));
  return done;
}

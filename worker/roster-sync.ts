import { randomUUID } from 'node:crypto';
import type { DirectoryKeeper } from '../queue/directory.ts';
import type { RosterPosition, RosterStore } from '../queue/roster.ts';
import type { Changes } from '../registry/changes.ts';
import type { Restoration } from '../registry/restoration.ts';
import type { Log } from '../runtime/log.ts';
import { createOutageLog } from '../runtime/outage-log.ts';
import { UpstreamRefused } from '../runtime/upstream.ts';
import { type GatewayRegister, listOf } from './gateway-register.ts';
import { compareChanges, compareWhole, copyRows, type RosterCopyDeps } from './roster-copy.ts';

/**
 * Milliseconds: how often the table is polled for announcements, and compared as a whole; with a site, how often its index is compared
 * as a whole, and in what has changed. `commonEvery`: the poll of a site that also asks for announcements of devices without a site.
 */
const usualTimes = {
  pollMs: 2000,
  wholeMs: 3_600_000,
  siteWholeMs: 86_400_000,
  commonEvery: 5,
  leaseMs: 60_000,
};

export type RosterSyncTimes = typeof usualTimes;

/** After this number of polls an announcement without its second write is given up: its writer has died. */
const patience = 5;

/** After a comparison by the index, which may be some seconds behind, what changed shortly before is compared once more. Milliseconds. */
const againMs = 60_000;

type RosterSyncDeps = RosterCopyDeps & {
  readonly changes: Pick<Changes, 'latest' | 'glance' | 'read'>;
  readonly gateways: Pick<GatewayRegister, 'note'>;
  readonly restoration: Pick<Restoration, 'note'>;
  readonly roster: RosterStore;
  readonly directory: DirectoryKeeper;
};

/** The announcements that are followed, by the number in the position that says how far. */
type Feed = 'change' | 'siteChange';

/**
 * Keeps the site's roster in line with the table: announced changes within seconds, all others within the hour. One worker of
 * a site does it at a time; two at once would write the same. Every worker also notes in the table which gateways are here, and
 * publishes the table's key to them.
 */
export function startRosterSync(
  options: RosterSyncDeps & {
    readonly log: Log;
    now(): number;
    /** milliseconds of a clock that only goes forward */
    elapsed?(): number;
    readonly times?: Partial<RosterSyncTimes>;
    readonly holder?: string;
  },
) {
  const { changes, gateways, restoration, roster, directory, site, log, now } = options;
  const { elapsed = () => performance.now(), holder = randomUUID() } = options;
  const times = { ...usualTimes, ...options.times };
  let recorded: ReadonlyMap<string, number> = new Map();
  const waited: Record<Feed, number> = { change: 0, siteChange: 0 };
  let polls = 0;
  /** by the clock of the process; the first time, another worker may have died in the middle of a comparison */
  let compareAgainAt = Number.NEGATIVE_INFINITY;
  /** whether the directory has all devices, as far as this worker knows: an earlier version filled none */
  let directoryComplete = false;
  let closed = false;
  let leads = false;
  let timer: NodeJS.Timeout | undefined;

  async function recordGateways(): Promise<void> {
    const found = await roster.gateways(now());
    const fresh = found.filter(({ gateway, at }) => recorded.get(gateway.id) !== at);
    if (fresh.length === 0) return;
    const known = await gateways.note(fresh);
    await roster.publishGatewayList(listOf(known));
    recorded = new Map(found.map(({ gateway, at }) => [gateway.id, at]));
  }

  async function poll(): Promise<void> {
    await roster.publishTableKey();
    await recordGateways();
    leads = await roster.lead(holder, times.leaseMs);
    if (!leads) return;
    await copyRows(await roster.takeRequestedLookups(), options);
    const position = await roster.position();
    const wholeMs = site === undefined ? times.wholeMs : times.siteWholeMs;
    directoryComplete ||= await directory.isComplete();
    if (!directoryComplete || position === undefined || position.site !== site || !isRecent(position.wholeAt, wholeMs))
      return compareAll(position);
    const reached = await followAll(position);
    if (reached === 'gap') return compareAll(position);
    if (reached !== 'waits' && site !== undefined) await compareRecent(site, reached);
  }

  /** A time in the future was written before the clock was set back. */
  const isRecent = (at: number, ms: number) => Math.abs(now() - at) < ms;

  async function followAll(from: RosterPosition): Promise<RosterPosition | 'gap' | 'waits'> {
    let position = from;
    for (const feed of feedsOf(polls++)) {
      const reached = await follow(feed, position);
      if (typeof reached === 'string') return reached;
      position = reached;
    }
    return position;
  }

  /** Those of devices without a site are rare where there are sites. Each look is a read of the table. */
  const feedsOf = (count: number): readonly Feed[] => {
    if (site === undefined) return ['change'];
    return count % times.commonEvery === 0 ? ['siteChange', 'change'] : ['siteChange'];
  };
  const siteOf = (feed: Feed) => (feed === 'siteChange' ? site : undefined);

  async function follow(feed: Feed, from: RosterPosition): Promise<RosterPosition | 'gap' | 'waits'> {
    let position = from;
    const seen = position[feed] ?? 0;
    const latest = await changes.glance(siteOf(feed));
    // a glance may be behind, and the table goes back only when it was restored
    if (latest < seen) return (await changes.latest(siteOf(feed))) < seen ? 'gap' : position;
    for (let number = seen + 1; number <= latest; number++) {
      const announced = await changes.read(number, siteOf(feed));
      if (announced === 'not-yet' && waited[feed]++ < patience) return 'waits';
      if (typeof announced === 'string') return 'gap';
      waited[feed] = 0;
      await copyRows(announced, options);
      position = { ...position, [feed]: number };
      await roster.setPosition(position);
    }
    return position;
  }

  async function compareAll(before: RosterPosition | undefined): Promise<void> {
    Object.assign(waited, { change: 0, siteChange: 0 });
    const started = now();
    const [change, siteChange] = await Promise.all([
      changes.latest(),
      site === undefined ? undefined : changes.latest(site),
    ]);
    if (before !== undefined && change < before.change) await noteRestored(before.change, change);
    // without a position, devices may have gone that the roster does not name any more
    const isEmpty = before === undefined || !directoryComplete;
    if (isEmpty) await directory.clear();
    const { size, changed, gone } = await compareWhole(options, () => roster.lead(holder, times.leaseMs), isEmpty);
    const ofSite = site === undefined || siteChange === undefined ? {} : { site, siteChange, comparedAt: started };
    await roster.setPosition({ change, wholeAt: started, ...ofSite });
    await directory.setComplete();
    compareAgainAt = elapsed() + againMs;
    log.info({ site, devices: size, changed, gone, ms: now() - started }, 'the roster was compared with the table');
  }

  async function compareRecent(name: string, position: RosterPosition): Promise<void> {
    const { comparedAt = 0 } = position;
    if (isRecent(comparedAt, times.wholeMs) && elapsed() < compareAgainAt) return;
    compareAgainAt = Number.POSITIVE_INFINITY;
    const started = now();
    const differing = await compareChanges(name, comparedAt, options);
    await roster.setPosition({ ...position, comparedAt: started });
    log.debug({ site, differing }, 'what has changed was compared with the roster');
  }

  /** The number of announcements never goes back by itself. */
  async function noteRestored(seen: number, latest: number): Promise<void> {
    await restoration.note(now());
    log.warn({ seen, latest }, restored);
  }

  const outage = createOutageLog(log, {
    away: 'the roster cannot be brought up to date; trying again until it can',
    back: 'the roster is brought up to date again',
  });
  let running: Promise<void> = Promise.resolve();
  function plan(ms: number): void {
    if (closed) return;
    timer = setTimeout(() => {
      running = poll()
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
      // the next worker would follow nothing until the lease ends; where Redis is away, it does that
      if (leads) await roster.stopLeading(holder).catch(() => {});
    },
  };
}

const restored =
  'the table is older than it was: it was restored from a backup, or CVM_TABLE names another one. Devices may have certificates that it does not name; see docs/restoring.md';

import { enrol } from '../../operator/enrol.ts';
import { makeToken } from '../../protocol/token.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { keyAttribute } from '../../registry/dynamodb/named-attributes.ts';
import { siteIndex } from '../../registry/dynamodb/site-index.ts';
import type { DynamoTable, IndexQuery, Item } from '../../registry/dynamodb/table.ts';
import { gatewaysToSealTo } from '../../registry/gateways.ts';
import { noAudit } from '../../runtime/audit.ts';
import { createLog } from '../../runtime/log.ts';
import { createGatewayRegister } from '../../worker/gateway-register.ts';
import { startRosterSync } from '../../worker/roster-sync.ts';
import { createMemoryDynamo } from '../fakes/memory-dynamodb.ts';
import { createMemoryRoster, noDirectory } from '../fakes/memory-roster.ts';
import { newGateway } from '../support/trust.ts';
import { createReadMeter, sizeOf } from './read-units.ts';

export type TableReads = {
  readonly sites: number;
  readonly devicesPerSite: number;
  /** bytes of one row of a device that has its certificate */
  readonly rowBytes: number;
  /** what reading the whole table costs, as every gateway did each hour */
  readonly wholeTableUnits: number;
  /** of one site in an hour in which nothing happens to its devices */
  readonly idleHourUnits: number;
  /** by operation */
  readonly idleHourCalls: Readonly<Record<string, number>>;
  /** `idleHourUnits` of `wholeTableUnits` */
  readonly share: number;
  /** of the first comparison of a site, at the start of a gateway that has no roster yet */
  readonly startUnits: number;
  readonly startCalls: number;
  /** devices that the roster of the site holds */
  readonly held: number;
  /** CPU of that comparison in this process, milliseconds */
  readonly startCpuMs: number;
  /** for each of a hundred devices that are announced together, at their own site and at another one */
  readonly announcedUnits: { readonly own: number; readonly other: number };
};

const [hour, pollMs, batch, site] = [3_600_000, 2000, 100, 'site-0'];

/**
 * Counts the read units of one site's worker in an hour, by the code of the product and DynamoDB's rules. The table has the rows of this
 * site; those of the other sites count by their number, since neither the index nor a key leads to them. Polls follow one another
 * without a pause, and the clock moves on by two seconds with each.
 */
export async function measureTableReads({ sites = 100, devicesPerSite = 10_000 } = {}): Promise<TableReads> {
  const clock = { now: Date.UTC(2027, 0, 1) };
  const { table: store, items } = createMemoryDynamo();
  indexed(store, items);
  const meter = createReadMeter(store);
  const write = createAssociationTable(store, undefined, () => clock.now);
  const gateway = newGateway().identity;
  await write.gateways.record([{ gateway, at: clock.now }], clock.now, site);
  addGateways(items, sites - 1);
  const enrolOne = (serial: string, at: string) =>
    enrol([{ serial, site: at }], {
      registry: write.registry,
      gateways: async () => gatewaysToSealTo(await write.gateways.known(), clock.now),
      announce: async () => {},
      audit: noAudit,
      now: () => clock.now,
      makeToken,
    });
  const template = await registeredRow(write, enrolOne, items, clock);
  for (let index = 1; index < devicesPerSite; index++)
    items.set(serialOf(index), { ...template, [keyAttribute]: { S: serialOf(index) } });
  // long ago, so that no row has changed in the last hour
  clock.now += 24 * hour;
  const rowBytes = sizeOf(template);
  const wholeTableUnits = Math.ceil((rowBytes * sites * devicesPerSite) / 4096);

  const read = createAssociationTable(meter.table, undefined, () => clock.now);
  const own = follow(read, site, clock, gateway);
  const cpu = process.cpuUsage();
  await own.polls(1);
  const start = { ...meter.take(), cpuMs: process.cpuUsage(cpu).user / 1000, held: own.held() };

  // the minute after the start has a look of its own
  await own.polls(40);
  meter.take();
  await write.changes.advance();
  await own.polls(hour / pollMs);
  const idle = meter.take();

  // as many looks for devices without a site in each span
  const span = 20;
  await own.polls(span);
  const quiet = meter.take().units;
  const announced = async (at: string) => {
    const serials = Array.from({ length: batch }, (_, index) => `${at}-${index}`);
    for (const serial of serials) await enrolOne(serial, at);
    await write.changes.announce(serials, at);
    await own.polls(span);
    return (meter.take().units - quiet) / batch;
  };
  const announcedUnits = { own: await announced(site), other: await announced('site-1') };
  await own.close();
  return {
    sites,
    devicesPerSite,
    rowBytes,
    wholeTableUnits,
    idleHourUnits: idle.units,
    idleHourCalls: idle.calls,
    share: idle.units / wholeTableUnits,
    startUnits: start.units,
    startCalls: Object.values(start.calls).reduce((sum, calls) => sum + calls, 0),
    held: start.held,
    startCpuMs: start.cpuMs,
    announcedUnits,
  };
}

const serialOf = (index: number) => `SN-${String(index).padStart(8, '0')}`;

/** One approved gateway for each of the other sites, as the product keeps them: all in one row. */
function addGateways(items: Map<string, Item>, count: number): void {
  const key = '#gateways';
  const row = items.get(key);
  const entries = row?.gateways?.M;
  const [entry] = Object.values(entries ?? {});
  if (row === undefined || entry?.M === undefined) throw new Error('the table has no gateway');
  const others = Array.from({ length: count }, (_, index) => {
    const { id, publicKey, signingKey } = newGateway().identity;
    const own = { publicKey: { S: publicKey }, signingKey: { S: signingKey }, site: { S: `site-${index + 1}` } };
    return [id, { M: { ...entry.M, ...own } }];
  });
  items.set(key, { ...row, gateways: { M: { ...entries, ...Object.fromEntries(others) } } });
}

type Table = ReturnType<typeof createAssociationTable>;

/** A row as the product leaves it when a device has acknowledged its certificate. */
async function registeredRow(
  { registry }: Table,
  enrolOne: (serial: string, at: string) => Promise<unknown>,
  items: ReadonlyMap<string, Item>,
  clock: { now: number },
): Promise<Item> {
  const serial = serialOf(0);
  await enrolOne(serial, site);
  const { tokenHash = '' } = (await registry.find(serial)) ?? {};
  const claim = await registry.claim({ serial, tokenHash, now: clock.now, leaseMs: 1000, site });
  if (claim.outcome !== 'claimed') throw new Error('the device was not claimed');
  const certificateId = 'c'.repeat(64);
  await registry.recordCertificate(claim.device, { certificateId, keptReply: 'AA' });
  await registry.finish(claim.device, certificateId, clock.now);
  await registry.acknowledge(serial, tokenHash, certificateId, clock.now, site);
  const row = items.get(serial);
  if (row === undefined) throw new Error('the device has no row');
  return row;
}

/** The worker's part that keeps the roster, on a clock that each poll moves on. */
function follow(table: Table, name: string, clock: { now: number }, gateway = newGateway().identity) {
  const roster = createMemoryRoster();
  const log = createLog('silent');
  const now = () => clock.now;
  let [polls, wanted] = [0, 0];
  let wake: (() => void) | undefined;
  let reached: (() => void) | undefined;
  const store = {
    ...roster.store,
    async publishTableKey() {
      if (polls === wanted) {
        reached?.();
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
      }
      polls++;
      clock.now += pollMs;
    },
    // a broker announces itself every hour
    gateways: async () => [{ gateway, at: Math.floor(clock.now / hour) * hour }],
  };
  const register = createGatewayRegister({ gateways: table.gateways, audit: noAudit, log, site: name, now });
  const deps = {
    ...table,
    gateways: register,
    roster: store,
    directory: noDirectory,
    replayWindowMs: 24 * hour,
    site: name,
    log,
    now,
  };
  const sync = startRosterSync({ ...deps, elapsed: now, times: { pollMs: 0 } });
  return {
    async polls(count: number): Promise<void> {
      const done = new Promise<void>((resolve) => {
        reached = resolve;
      });
      wanted += count;
      wake?.();
      await done;
    },
    held: () => roster.entries.size,
    async close(): Promise<void> {
      wanted = Number.POSITIVE_INFINITY;
      const closed = sync.close();
      wake?.();
      await closed;
    },
  };
}

/** The pages of an index of many rows, as DynamoDB cuts them: the table in memory gives all rows at once. */
function indexed(store: DynamoTable, items: ReadonlyMap<string, Item>): void {
  const attributes = new Set([keyAttribute, siteIndex.partition, siteIndex.sort, ...siteIndex.included]);
  store.query = async function* ({ partition: [name, value], from }: IndexQuery) {
    for (const item of items.values()) {
      if (item[name]?.S !== value || Number(item[siteIndex.sort]?.N) < (from?.[1] ?? 0)) continue;
      yield Object.fromEntries(Object.entries(item).filter(([attribute]) => attributes.has(attribute)));
    }
  };
}

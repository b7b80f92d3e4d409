import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import type { RosterStore } from '../../queue/roster.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import type { DynamoTable } from '../../registry/dynamodb/table.ts';
import { createLog } from '../../runtime/log.ts';
import { UpstreamRefused } from '../../runtime/upstream.ts';
import { startRosterSync } from '../../worker/roster-sync.ts';
import { createMemoryDynamo } from '../fakes/memory-dynamodb.ts';
import { createMemoryRoster, noDirectory } from '../fakes/memory-roster.ts';

const hour = 3_600_000;
const log = createLog('silent');

describe('the roster sync of a gateway with a site', () => {
  let reads: string[];
  let clock: { now: number };
  let table: ReturnType<typeof createAssociationTable>;
  let dynamo: ReturnType<typeof createMemoryDynamo>;
  let closing: (() => Promise<void>)[];
  /** the polls of each sync, by one round */
  let round: () => Promise<void>;

  beforeEach(() => {
    reads = [];
    clock = { now: 1_700_000_000_000 };
    dynamo = createMemoryDynamo();
    closing = [];
    round = async () => {};
    table = createAssociationTable(dynamo.table, undefined, () => clock.now);
  });
  afterEach(async () => {
    for (const close of closing) await close();
  });

  /** Counts the reads of rows, but for the counters of announcements. */
  function counting(): DynamoTable {
    return {
      ...dynamo.table,
      glance: (key) => dynamo.table.glance(key),
      get(key) {
        if (!key.startsWith('#')) reads.push(key);
        return dynamo.table.get(key);
      },
      query: (of) => dynamo.table.query(of),
      async *scan() {
        reads.push('the whole table');
        yield* dynamo.table.scan();
      },
    };
  }

  function keep(
    site: string | undefined,
    replaced: Partial<RosterStore> = {},
    roster = createMemoryRoster(),
    logTo = log,
  ) {
    const { registry, changes, restoration, sites } = createAssociationTable(counting(), undefined, () => clock.now);
    let polls = 0;
    const store: RosterStore = {
      ...roster.store,
      async lead() {
        polls++;
        return true;
      },
      ...replaced,
    };
    const gateways = { note: async () => [] };
    const deps = {
      registry,
      changes,
      restoration,
      sites,
      gateways,
      roster: store,
      directory: noDirectory,
      replayWindowMs: hour,
    };
    const sync = startRosterSync({
      ...deps,
      site,
      log: logTo,
      now: () => clock.now,
      times: { pollMs: 1, commonEvery: 2 },
    });
    closing.push(sync.close);
    const before = round;
    round = async () => {
      await before();
      const seen = polls;
      await expect.poll(() => polls, { interval: 1 }).toBeGreaterThan(seen + 4);
    };
    return { ...roster, serials: () => [...roster.entries.keys()].sort(), close: sync.close };
  }
  const enrol = (serial: string, site?: string) =>
    table.registry.enrol({
      serial,
      tokenHash: hashToken(serial),
      enrolledAt: clock.now,
      ...(site === undefined ? {} : { site }),
    });
  const device = async (serial: string) => {
    const found = await table.registry.find(serial);
    if (found === undefined) throw new Error(`${serial} is not there`);
    return found;
  };

  it('holds the devices of its site and those without one, without reading the table', async () => {
    for (const [serial, site] of [
      ['a', 'north'],
      ['b', 'south'],
      ['c', undefined],
    ] as const)
      await enrol(serial, site);
    const [north, unnamed] = [keep('north'), keep(undefined)];
    await expect.poll(north.serials).toEqual(['a', 'c']);
    await expect.poll(unnamed.serials).toEqual(['c']);
    expect(reads).toEqual(['the whole table']);
  });

  it('reads an announced device once, and one of another site not at all', async () => {
    const north = keep('north');
    const south = keep('south');
    await round();
    const serials = Array.from({ length: 20 }, (_, index) => `device-${index}`);
    for (const serial of serials) await enrol(serial, 'north');
    await table.changes.announce(serials, 'north');
    await expect.poll(() => north.entries.size).toBe(20);
    clock.now += hour + 1;
    await round();
    await round();
    expect(reads.sort()).toEqual([...serials].sort());
    expect(south.entries.size).toBe(0);
  });

  it('follows the announcements of devices without a site as well', async () => {
    const north = keep('north');
    await round();
    await enrol('any');
    await table.changes.announce(['any']);
    await expect.poll(north.serials).toEqual(['any']);
  });

  it('finds a change without an announcement within the hour, and reads only the changes', async () => {
    const north = keep('north');
    for (const serial of ['kept', 'blocked', 'removed']) await enrol(serial, 'north');
    await round();
    await table.changes.announce(['kept', 'blocked', 'removed'], 'north');
    await expect.poll(north.position).toMatchObject({ siteChange: 1 });
    expect(north.serials()).toEqual(['blocked', 'kept', 'removed']);
    clock.now += hour / 2;
    await table.registry.block(await device('blocked'));
    await table.registry.retire(await device('removed'), 'with-thing');
    await table.registry.remove(await device('removed'), clock.now);
    await enrol('new', 'north');
    await round();
    reads.length = 0;
    clock.now += hour;
    await expect.poll(north.serials).toEqual(['blocked', 'kept', 'new']);
    expect(north.entries.get('blocked')?.validUntil).toBe(0);
    expect(reads.sort()).toEqual(['blocked', 'new', 'removed']);
  });

  it('forgets a device that moves away, and learns of one that comes', async () => {
    const [north, south] = [keep('north'), keep('south')];
    await enrol('mover', 'north');
    await table.changes.announce(['mover'], 'north');
    await expect.poll(north.serials).toEqual(['mover']);
    await table.registry.move(await device('mover'), 'south');
    for (const site of ['north', 'south']) await table.changes.announce(['mover'], site);
    await expect.poll(south.serials).toEqual(['mover']);
    await expect.poll(north.serials).toEqual([]);
  });

  it('is told nothing of a device of another site by a lookup, and of a row that another tool wrote all', async () => {
    const north = keep('north');
    await round();
    await enrol('theirs', 'south');
    dynamo.items.set('tool', { productId: { S: 'tool' }, accessToken: { S: hashToken('t') }, applyState: { N: '0' } });
    north.lookups.push('theirs', 'tool');
    await expect.poll(north.serials).toEqual(['tool']);
    // it is in no index, and stays all the same when the site is compared as a whole
    clock.now += 25 * hour;
    await round();
    await round();
    expect(north.serials()).toEqual(['tool']);
  });

  it('begins anew for another site, with the roster of the earlier one in Redis', async () => {
    for (const [serial, site] of [
      ['a', 'north'],
      ['b', 'south'],
    ] as const)
      await enrol(serial, site);
    const north = keep('north');
    await expect.poll(north.serials).toEqual(['a']);
    await north.close();
    const south = keep('south', {}, north);
    await expect.poll(south.serials).toEqual(['b']);
  });

  it('does not take a glance that is behind for a restored table', async () => {
    for (const serial of ['a', 'b']) {
      await enrol(serial, 'north');
      await table.changes.announce([serial], 'north');
    }
    const north = keep('north');
    await expect.poll(north.position).toMatchObject({ siteChange: 2 });
    const { glance } = dynamo.table;
    const stale = { ...dynamo.items.get('#changes:north'), announced: { N: '1' } } as never;
    dynamo.table.glance = async (key) => (key === '#changes:north' ? stale : glance(key));
    await round();
    expect(north.position()).toMatchObject({ siteChange: 2 });
    dynamo.table.glance = glance;
    expect(await table.restoration.latest()).toBeUndefined();
  });

  it('says how to mend a table without the index, and goes on when it is there', async () => {
    const lines: { level: number; msg: string }[] = [];
    const said = createLog('info', { write: (line: string) => void lines.push(JSON.parse(line)) });
    const { query } = dynamo.table;
    // biome-ignore lint/correctness/useYield: AWS refuses it at once
    dynamo.table.query = async function* () {
      throw new UpstreamRefused('dynamodb:Query', new Error('no such index'), 'run "cvm aws setup"');
    };
    await enrol('a', 'north');
    const north = keep('north', {}, createMemoryRoster(), said);
    await expect.poll(() => lines.length).toBe(1);
    await round();
    expect(lines).toMatchObject([{ level: 50, msg: 'run "cvm aws setup"' }]);
    dynamo.table.query = query;
    await expect.poll(north.serials).toEqual(['a']);
  });

  it('notices that the table was restored, by the announcements of devices without a site', async () => {
    for (const _hour of [1, 2, 3]) await table.changes.advance();
    const north = keep('north');
    await expect.poll(north.position).toMatchObject({ change: 3 });
    dynamo.items.set('#changes', { productId: { S: '#changes' }, announced: { N: '2' } });
    await expect.poll(() => table.restoration.latest()).toBe(clock.now);
  });
});

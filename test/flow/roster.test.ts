import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRoster, type Roster } from '../../broker/roster.ts';
import { hashToken } from '../../protocol/token.ts';
import { redisAt } from '../../queue/redis.ts';
import { createRosterFeed, createRosterStore } from '../../queue/redis-roster.ts';
import type { RosterFeed, RosterStore } from '../../queue/roster.ts';
import type { Changes } from '../../registry/changes.ts';
import type { SeenGateway } from '../../registry/gateways.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { sealDeviceKeys } from '../../sealing/device-keys.ts';
import type { GatewayIdentity } from '../../sealing/gateway.ts';
import { startRosterSync } from '../../worker/roster-sync.ts';
import { noDirectory } from '../fakes/memory-roster.ts';
import { lacks } from '../support/lacks.ts';
import { newGateway, tableKey, trustOf } from '../support/trust.ts';

const log = createLog('silent');
const replayWindowMs = 86_400_000;

function memoryChanges(): Changes & { numbers: (readonly string[] | 'not-yet' | 'overwritten')[] } {
  const numbers: (readonly string[] | 'not-yet' | 'overwritten')[] = [];
  return {
    numbers,
    async announce(serials) {
      numbers.push(serials);
    },
    async advance() {
      numbers.push([]);
    },
    latest: async () => numbers.length,
    glance: async () => numbers.length,
    read: async (number) => numbers[number - 1] ?? 'not-yet',
  };
}

describe.skipIf(lacks('redis-server'))('the roster of a site', () => {
  const closing: (() => unknown)[] = [];
  let redis: EmbeddedRedis;
  let store: RosterStore;
  let feed: RosterFeed;
  let roster: Roster;
  let changes: ReturnType<typeof memoryChanges>;
  let registry: ReturnType<typeof createMemoryRegistry>;
  let known: GatewayIdentity[];
  let seen: { id: string; seenAt: number }[];
  let restored: number[];
  const own = newGateway();
  const table = tableKey();
  const open = (from: RosterFeed, gateway = own, times = {}) => openRoster(from, gateway, trustOf(table), log, times);

  beforeEach(async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-roster-'));
    redis = await startEmbeddedRedis({ dataDir, log });
    [changes, registry, known, seen, restored] = [memoryChanges(), createMemoryRegistry(), [], [], []];
    store = createRosterStore(redisAt(redis.url), log, async () => table);
    feed = createRosterFeed(redisAt(redis.url), log);
    roster = await open(feed);
    closing.push(
      () => rmSync(dataDir, { recursive: true, force: true }),
      () => redis.close(),
      () => store.close(),
      () => feed.close(),
      () => roster.close(),
    );
  });
  afterEach(async () => {
    for (const close of closing.splice(0).reverse()) await close();
  });

  const keep = (times = {}, now = Date.now) => {
    const gateways = {
      async note(found: readonly SeenGateway[]) {
        for (const { gateway, at } of found) {
          known = [...known.filter(({ id }) => id !== gateway.id), gateway];
          seen.push({ id: gateway.id, seenAt: at });
        }
        return [];
      },
    };
    const restoration = { note: async (at: number) => void restored.push(at) };
    const sites = { list: async function* () {} };
    const deps = { registry, sites, changes, gateways, restoration, roster: store, directory: noDirectory };
    const parts = { ...deps, replayWindowMs, log, now };
    const rosterSync = startRosterSync({ ...parts, times: { pollMs: 20, ...times } });
    closing.push(() => rosterSync.close());
    return rosterSync;
  };
  const enrol = (serial: string, sealed = true) => {
    const sealedKeys = sealed ? { sealedKeys: sealDeviceKeys(serial, `token of ${serial}`, known) } : {};
    return registry.enrol({ serial, tokenHash: hashToken(`token of ${serial}`), enrolledAt: 0, ...sealedKeys });
  };
  const matches = (serial: string) => roster.matchesToken(serial, hashToken(`token of ${serial}`));

  it('says so when workers of two tables serve one Redis, and not after a table was replaced', async () => {
    const lines: string[] = [];
    const said = createLog('error', { write: (line: string) => void lines.push(line) });
    const worker = async (byte: number) => {
      const own = createRosterStore(redisAt(redis.url), said, async () => tableKey(byte));
      closing.push(() => own.close());
      const publish = () =>
        own.publishTableKey().then(
          () => true,
          () => false,
        );
      await expect.poll(publish).toBe(true);
      return own;
    };
    const earlier = await worker(2);
    const one = await worker(3);
    for (const _poll of [1, 2, 3]) await one.publishTableKey();
    expect(lines).toEqual([]);
    expect(one.trouble()).toBeUndefined();
    await earlier.publishTableKey();
    for (const _poll of [1, 2]) await one.publishTableKey();
    expect(lines).toEqual([
      expect.stringMatching(/stop the workers of one of them.*workers of two tables/),
      expect.stringMatching(/workers of two tables/),
    ]);
    expect(one.trouble()).toMatch(/^workers of two tables.*run docker compose down/);
  });

  it('says nothing of a Redis that is away in a start with one that is there', async () => {
    const lines: string[] = [];
    const said = createLog('warn', { write: (line: string) => void lines.push(line) });
    const own = createRosterStore(redisAt(redis.url), said, async () => tableKey(1));
    closing.push(() => own.close());
    await own.publishTableKey();
    expect(lines).toEqual([]);
  });

  it('learns of a device without an announcement when its serial is tried', async () => {
    keep();
    await enrol('known');
    await changes.announce(['known']);
    await expect.poll(() => matches('known')).toBe(true);
    await enrol('unannounced');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(matches('unannounced')).toBe(false);
    roster.requestLookup('unannounced', '192.0.2.1');
    await expect.poll(() => matches('unannounced')).toBe(true);
    expect(matches('known')).toBe(true);
    // strangers may request lookups of any serial; that leaves nothing behind
    for (let index = 0; index < 1100; index++) await feed.requestLookup(`stranger-${index}`);
    await expect.poll(() => store.takeRequestedLookups()).toEqual([]);
    expect(roster.size()).toBe(2);
  });

  it("publishes the broker's key, and takes in devices that were enrolled before it", async () => {
    await enrol('early', false);
    keep();
    await expect.poll(() => matches('early')).toBe(true);
    expect(known).toHaveLength(1);
    expect(roster.keysOf('early')).toBeUndefined();
    expect(roster.matchesToken('early', hashToken('another token'))).toBe(false);
    expect(roster.matchesToken('nobody', hashToken('token of nobody'))).toBe(false);
  });

  it('follows announcements: a new device, a new token, a removed device', async () => {
    keep();
    await expect.poll(() => known.length).toBe(1);
    await enrol('SN-1');
    await changes.announce(['SN-1']);
    await expect.poll(() => roster.keysOf('SN-1')).toBeDefined();
    const device = await registry.find('SN-1');
    if (device) await registry.reissue(device, { tokenHash: hashToken('new') });
    await changes.announce(['SN-1']);
    await expect.poll(() => roster.matchesToken('SN-1', hashToken('new'))).toBe(true);
    expect(matches('SN-1')).toBe(false);
    expect(roster.keysOf('SN-1')).toBeUndefined();
    const row = await registry.find('SN-1');
    if (row) await registry.remove(row, 1);
    await changes.announce(['SN-1']);
    await expect.poll(() => roster.size()).toBe(0);
  });

  it('notices a table that was restored from a backup: its announcements went back', async () => {
    keep({}, () => 5);
    for (const serial of ['a', 'b']) await changes.announce([serial]);
    await expect.poll(() => store.position()).toMatchObject({ change: 2 });
    expect(restored).toEqual([]);
    changes.numbers.pop();
    await expect.poll(() => restored).toEqual([5]);
    await expect.poll(() => store.position()).toMatchObject({ change: 1 });
    expect(restored).toEqual([5]);
  });

  it('finds changes without an announcement when it compares the whole table', async () => {
    keep({ wholeMs: 200 });
    await expect.poll(() => known.length).toBe(1);
    await enrol('quiet');
    await expect.poll(() => roster.keysOf('quiet')).toBeDefined();
    const row = await registry.find('quiet');
    if (row) await registry.remove(row, 1);
    await expect.poll(() => roster.size()).toBe(0);
  });

  it.each(['not-yet', 'overwritten'] as const)('compares the whole table when an announcement is %s', async (gap) => {
    keep();
    await expect.poll(() => known.length).toBe(1);
    await enrol('missed');
    changes.numbers.push(gap);
    await expect.poll(() => matches('missed')).toBe(true);
    await enrol('next');
    await changes.announce(['next']);
    await expect.poll(() => matches('next')).toBe(true);
  });

  it('is available at once when a broker starts without any worker', async () => {
    const rosterSync = keep();
    await expect.poll(() => known.length).toBe(1);
    await enrol('SN-1');
    await changes.announce(['SN-1']);
    await expect.poll(() => matches('SN-1')).toBe(true);
    await rosterSync.close();
    const other = createRosterFeed(redisAt(redis.url), log);
    closing.push(() => other.close());
    const second = await open(other);
    expect(second.keysOf('SN-1')).toBeDefined();
    const stranger = await open(other, newGateway());
    expect(stranger.keysOf('SN-1')).toBeUndefined();
    expect(stranger.matchesToken('SN-1', hashToken('token of SN-1'))).toBe(true);
  });

  it("passes on each broker's latest announcement, and drops a broker that stopped announcing itself", async () => {
    const day = 86_400_000;
    const [replaced, oldAt] = [newGateway(), Date.now() - 3_600_000];
    await feed.announceGateway(replaced, oldAt);
    const again = createRosterFeed(redisAt(redis.url), log);
    closing.push(() => again.close());
    const living = newGateway();
    const second = await open(again, living, { announceMs: 50 });
    closing.push(() => second.close());
    const rosterSync = keep();
    const times = (id: string) => seen.filter((other) => other.id === id).map(({ seenAt }) => seenAt);
    await expect.poll(() => new Set(times(living.identity.id)).size).toBeGreaterThan(2);
    expect(times(replaced.identity.id)).toEqual([oldAt]);
    await rosterSync.close();
    second.close();
    seen.length = 0;
    keep({}, () => oldAt + 2 * day);
    await expect.poll(() => seen.length).toBeGreaterThan(0);
    expect(times(replaced.identity.id)).toEqual([]);
    const left = (await store.gateways(oldAt)).map(({ gateway }) => gateway.id);
    expect(left).not.toContain(replaced.identity.id);
  });

  it('never changes without telling the brokers, wherever a worker dies', async () => {
    const admin = new Redis(redis.url);
    closing.push(() => admin.quit());
    await store.write([{ serial: 'there', tokenHash: hashToken('token of there') }], []);
    await expect.poll(() => matches('there')).toBe(true);
    // publishing fails now, as it does when the worker dies before it
    await admin.call('ACL', 'SETUSER', 'default', 'resetchannels');
    const entry = { serial: 'SN-1', tokenHash: hashToken('token of SN-1') };
    await expect(store.write([entry], [])).rejects.toThrow();
    await expect(store.write([], ['there'])).rejects.toThrow();
    expect((await feed.read(['SN-1', 'there'])).map(({ serial }) => serial)).toEqual(['there']);
  });

  it('is kept by one worker at a time, and by another after that one is gone', async () => {
    expect(await store.lead('a', 60_000)).toBe(true);
    expect(await store.lead('b', 60_000)).toBe(false);
    // the last time, as it turns out
    expect(await store.lead('a', 300)).toBe(true);
    await expect.poll(() => store.lead('b', 60_000)).toBe(true);
    expect(await store.lead('a', 60_000)).toBe(false);
  });

  it('is given back by a worker that ends, and by no other', async () => {
    expect(await store.lead('a', 60_000)).toBe(true);
    await store.stopLeading('b');
    expect(await store.lead('b', 60_000)).toBe(false);
    await store.stopLeading('a');
    expect(await store.lead('b', 60_000)).toBe(true);
  });
});

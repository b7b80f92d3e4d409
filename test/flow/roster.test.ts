import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { openRoster, type Roster } from '../../broker/roster.ts';
import { hashToken } from '../../protocol/token.ts';
import { createRosterFeed, createRosterStore } from '../../queue/redis-roster.ts';
import type { RosterFeed, RosterStore } from '../../queue/roster.ts';
import type { Changes } from '../../registry/changes.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { type GatewayKey, sealDeviceKeys } from '../../sealing/device-keys.ts';
import { newKeyPair } from '../../sealing/hpke.ts';
import { startRosterKeeper } from '../../worker/roster-keeper.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');

function memoryChanges(): Changes & { numbers: (readonly string[] | 'not-yet' | 'overwritten')[] } {
  const numbers: (readonly string[] | 'not-yet' | 'overwritten')[] = [];
  return {
    numbers,
    async announce(serials) {
      numbers.push(serials);
    },
    latest: async () => numbers.length,
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
  let known: GatewayKey[];
  const pair = newKeyPair();

  beforeEach(async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-roster-'));
    redis = await startEmbeddedRedis({ dataDir, log });
    [changes, registry, known] = [memoryChanges(), createMemoryRegistry(), []];
    store = createRosterStore(redis.url, log);
    feed = createRosterFeed(redis.url, log);
    roster = await openRoster(feed, pair, log);
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

  const keep = (times = {}) => {
    const gateways = {
      announce: async (key: GatewayKey) => void known.push(key),
      known: async () => known,
    };
    const parts = { registry, changes, gateways, roster: store, log, now: Date.now };
    const keeper = startRosterKeeper({ ...parts, times: { pollMs: 20, ...times } });
    closing.push(() => keeper.close());
    return keeper;
  };
  const enrol = (serial: string, sealed = true) => {
    const sealedKeys = sealed ? { sealedKeys: sealDeviceKeys(serial, `token of ${serial}`, known) } : {};
    return registry.enrol({ serial, tokenHash: hashToken(`token of ${serial}`), enrolledAt: 0, ...sealedKeys });
  };
  const fits = (serial: string) => roster.fits(serial, hashToken(`token of ${serial}`));

  it("makes the broker's key known, and takes in who was enrolled before there was a gateway", async () => {
    await enrol('early', false);
    keep();
    await expect.poll(() => fits('early')).toBe(true);
    expect(known).toHaveLength(1);
    expect(roster.keysOf('early')).toBeUndefined();
    expect(roster.fits('early', hashToken('another token'))).toBe(false);
    expect(roster.fits('nobody', hashToken('token of nobody'))).toBe(false);
  });

  it('follows what is announced: a new device, a new token, one that is gone', async () => {
    keep();
    await expect.poll(() => known.length).toBe(1);
    await enrol('SN-1');
    await changes.announce(['SN-1']);
    await expect.poll(() => roster.keysOf('SN-1')).toBeDefined();
    const device = await registry.find('SN-1');
    if (device) await registry.reissue(device, { tokenHash: hashToken('new') });
    await changes.announce(['SN-1']);
    await expect.poll(() => roster.fits('SN-1', hashToken('new'))).toBe(true);
    expect(fits('SN-1')).toBe(false);
    expect(roster.keysOf('SN-1')).toBeUndefined();
    const row = await registry.find('SN-1');
    if (row) await registry.remove(row);
    await changes.announce(['SN-1']);
    await expect.poll(() => roster.size()).toBe(0);
  });

  it('finds what nobody announced when it reads the table as a whole', async () => {
    keep({ wholeMs: 200 });
    await expect.poll(() => known.length).toBe(1);
    await enrol('quiet');
    await expect.poll(() => roster.keysOf('quiet')).toBeDefined();
    const row = await registry.find('quiet');
    if (row) await registry.remove(row);
    await expect.poll(() => roster.size()).toBe(0);
  });

  it.each(['not-yet', 'overwritten'] as const)('reads the table as a whole when an announcement is %s', async (gap) => {
    keep();
    await expect.poll(() => known.length).toBe(1);
    await enrol('missed');
    changes.numbers.push(gap);
    await expect.poll(() => fits('missed')).toBe(true);
    await enrol('next');
    await changes.announce(['next']);
    await expect.poll(() => fits('next')).toBe(true);
  });

  it('is there again at once when a broker starts, though no worker runs', async () => {
    const keeper = keep();
    await expect.poll(() => known.length).toBe(1);
    await enrol('SN-1');
    await changes.announce(['SN-1']);
    await expect.poll(() => fits('SN-1')).toBe(true);
    await keeper.close();
    const other = createRosterFeed(redis.url, log);
    closing.push(() => other.close());
    const second = await openRoster(other, pair, log);
    expect(second.keysOf('SN-1')).toBeDefined();
    const stranger = await openRoster(other, newKeyPair(), log);
    expect(stranger.keysOf('SN-1')).toBeUndefined();
    expect(stranger.fits('SN-1', hashToken('token of SN-1'))).toBe(true);
  });

  it('is kept by one worker at a time, and by another when that one is gone', async () => {
    expect(await store.lead('a', 300)).toBe(true);
    expect(await store.lead('b', 300)).toBe(false);
    expect(await store.lead('a', 300)).toBe(true);
    await expect.poll(() => store.lead('b', 300)).toBe(true);
    expect(await store.lead('a', 300)).toBe(false);
  });
});

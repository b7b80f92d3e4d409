import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { findAlikeSerials } from '../../operator/alike-serials.ts';
import type { DirectoryEntry } from '../../queue/directory.ts';
import { redisAt } from '../../queue/redis.ts';
import { createDirectory, createDirectoryKeeper } from '../../queue/redis-directory.ts';
import { directoryKeys } from '../../queue/stored-keys.ts';
import type { IndexedDevice } from '../../registry/site-index.ts';
import { createLog } from '../../runtime/log.ts';
import { compareWhole } from '../../worker/roster-copy.ts';
import { createMemoryRoster } from '../fakes/memory-roster.ts';
import { lacks } from '../support/lacks.ts';
import { redisServers, type Server } from '../support/redis-servers.ts';

const log = createLog('silent');
const states = ['registered', 'enrolled', 'blocked'] as const;
const entryOf = (index: number): DirectoryEntry => ({
  serial: `SN-${String(index).padStart(5, '0')}`,
  state: states[index % states.length] ?? 'unknown',
  ofSite: index % 2 === 0,
  ...(index % 3 === 0 ? { requestedAt: 1_790_000_000 + index, registeredAt: 1_790_000_002 + index } : {}),
});

describe.skipIf(lacks('redis-server'))('the directory of devices in Redis', () => {
  const servers = redisServers();
  let server: Server;
  let directory: ReturnType<typeof createDirectory>;
  let keeper: ReturnType<typeof createDirectoryKeeper>;
  let other: ReturnType<typeof createDirectoryKeeper>;
  beforeAll(async () => {
    server = await servers.server([]);
    const redis = redisAt(`redis://127.0.0.1:${server.port}`);
    directory = createDirectory(redis, log);
    [keeper, other] = [createDirectoryKeeper(redis, log), createDirectoryKeeper(redis, log)];
    await vi.waitFor(() => Promise.all([directory.counts(), keeper.isComplete(), other.isComplete()]), 45_000);
  });
  afterAll(async () => {
    await Promise.all([directory.close(), keeper.close(), other.close()]);
    await servers.close();
  });
  beforeEach(() => server.redis.flushall());

  const all = async () => (await directory.page({ limit: 5000 })).entries;

  it('shows the same whether devices were entered one by one or all at once', async () => {
    const entries = Array.from({ length: 2500 }, (_, index) => entryOf(index));
    await keeper.clear();
    await keeper.put(entries);
    const shown = await all();
    await keeper.clear();
    await keeper.fill(entries);
    expect(await all()).toEqual(shown);
    expect(shown).toEqual(entries);
  });

  it('gives serials from a text on, of all states and sites, in the order of their bytes', async () => {
    const serials = ['SN-1', 'SN-10', 'SN-1:', 'SN-1A', 'SN-1_', 'SN-1a', 'SN1', 'sn-1'];
    await keeper.put([...serials].reverse().map((serial, index) => ({ ...entryOf(index), serial })));
    expect(await directory.serialsFrom('', 100)).toEqual(serials);
    expect(await directory.serialsFrom('SN-1', 3)).toEqual(['SN-1', 'SN-10', 'SN-1:']);
    expect(await directory.serialsFrom('SN-1-', 1)).toEqual(['SN-10']);
    expect(await directory.serialsFrom('SN-1A', 2)).toEqual(['SN-1A', 'SN-1_']);
    expect(await directory.serialsFrom('sn-2', 5)).toEqual([]);
  });

  it('gives a serial once that stands in two sets', async () => {
    await keeper.put([entryOf(1), entryOf(2)]);
    await server.redis.zadd(directoryKeys.of('blocked', false), 0, `${entryOf(1).serial}\0\0`);
    expect(await directory.serialsFrom('SN', 5)).toEqual([entryOf(1), entryOf(2)].map(({ serial }) => serial));
  });

  it.each([
    ['a page', () => all(), []],
    ['counts', () => directory.counts(), undefined],
    ['serials', () => directory.serialsFrom('SN', 5), []],
  ] as const)(
    'answers with none, and is to be filled anew, where a key has another type: %s',
    async (_what, ask, none) => {
      await keeper.put([entryOf(1), entryOf(2)]);
      await keeper.setComplete();
      await server.redis.del(directoryKeys.of('unknown', false));
      await server.redis.set(directoryKeys.of('unknown', false), 'garbage');
      expect(await ask()).toEqual(none);
      expect(await keeper.isComplete()).toBe(false);
      await keeper.put([entryOf(1)]);
      expect((await all()).length).toBe(1);
    },
  );

  it('finds serials that look alike in it', async () => {
    const alike = ['AB-O1X7', 'AA:BB:CC:DD:EE:FF', '5N-8B-1', 'LOT-2-1'];
    await keeper.put(
      [...alike, ...Array.from({ length: 2000 }, (_, index) => entryOf(index).serial)].map((serial, index) => ({
        ...entryOf(index),
        serial,
      })),
    );
    const found = (serial: string) => findAlikeSerials(serial, directory.serialsFrom);
    expect(await found('ab_01x7')).toEqual(['AB-O1X7']);
    expect(await found('AABBCCDDEEFF')).toEqual(['AA:BB:CC:DD:EE:FF']);
    expect(await found('aa-8b-c')).toEqual(['AA:BB:CC:DD:EE:FF']);
    expect(await found('SNB8I')).toEqual(['5N-8B-1']);
    expect(await found('1otz')).toEqual(['LOT-2-1']);
    expect(await found('sn-o123')).toEqual(['SN-01230', 'SN-01231', 'SN-01232', 'SN-01233', 'SN-01234']);
    expect(await found('SN-02000')).toEqual([]);
  });

  it('counts devices by state once it is filled, and not before', async () => {
    await keeper.clear();
    await keeper.fill([0, 1, 2, 3].map(entryOf));
    expect(await directory.counts()).toBeUndefined();
    await keeper.setComplete();
    expect(await directory.counts()).toEqual({ registered: 2, enrolled: 1, blocked: 1, provisioning: 0, unknown: 0 });
  });

  it('takes nothing more from a worker after another one has begun to fill it', async () => {
    await keeper.clear();
    await keeper.fill([entryOf(1)]);
    await other.clear();
    await expect(keeper.fill([entryOf(2)])).rejects.toThrow('another worker');
    await other.fill([entryOf(3)]);
    expect(await all()).toEqual([entryOf(3)]);
  });

  it('has a device once that the index gave twice while it was filled, as it is now', async () => {
    const first = { serial: 'SN-1', state: 'enrolled', site: 'plant', tokenHash: 'sha256:00' } as IndexedDevice;
    const second = { ...first, state: 'registered', issuedAt: 1_790_000_000_000 } as IndexedDevice;
    const sites = {
      async *list() {
        yield* [first, second];
      },
    };
    const registry = {
      find: async () => undefined,
      async *list() {},
    };
    await keeper.clear();
    const roster = createMemoryRoster().store;
    await compareWhole(
      { registry, sites, roster, directory: keeper, replayWindowMs: 1, site: 'plant' },
      async () => {},
      true,
    );
    expect((await all()).map(({ serial, state }) => `${serial} ${state}`)).toEqual(['SN-1 registered']);
  });
});

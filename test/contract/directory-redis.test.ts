import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { DirectoryEntry } from '../../queue/directory.ts';
import { redisAt } from '../../queue/redis.ts';
import { createDirectory, createDirectoryKeeper } from '../../queue/redis-directory.ts';
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
    await vi.waitFor(() => Promise.all([directory.counts(), keeper.isComplete(), other.isComplete()]));
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

import { join } from 'node:path';
import { Redis } from 'ioredis';
import { findAlikeSerials } from '../../../operator/alike-serials.ts';
import type { DirectoryEntry, DirectoryQuery } from '../../../queue/directory.ts';
import { redisAt } from '../../../queue/redis.ts';
import { createDirectory, createDirectoryKeeper } from '../../../queue/redis-directory.ts';
import { createLog } from '../../../runtime/log.ts';
import type { Figure } from '../../chaos/figures.ts';
import { freePort } from '../../support/network.ts';
import { type Row, type RowContext, rounded } from '../row.ts';
import { startRedis } from '../site.ts';

const sizes = [100_000, 1_000_000] as const;
const pages = 200;

/** Serials of 16 characters, spread as those of several years of production are. */
const serialOf = (index: number) => `SN${String(index % 97).padStart(2, '0')}-${String(index).padStart(11, '0')}`;
const states = ['registered', 'registered', 'registered', 'enrolled', 'blocked'] as const;

function entryOf(index: number): DirectoryEntry {
  const state = states[index % states.length] ?? 'enrolled';
  const times = state === 'enrolled' ? {} : { requestedAt: 1_790_000_000 + index, registeredAt: 1_790_000_002 + index };
  return { serial: serialOf(index), state, ofSite: index % 2 === 0, ...times };
}

const queries: readonly (readonly [name: string, of: (index: number) => DirectoryQuery])[] = [
  ['a page of 50, anywhere', (index) => ({ limit: 50, after: serialOf(index * 4999) })],
  ['a page of 200 by prefix', (index) => ({ limit: 200, prefix: serialOf(index * 4999).slice(0, 8) })],
  [
    'a page of 50 by prefix, state and site',
    (index) => ({ limit: 50, prefix: serialOf(index).slice(0, 4), state: 'blocked', ofSite: true }),
  ],
];

const mistyped = (serial: string) => serial.toLowerCase().replaceAll('0', 'o').replace('-', '_');

/** The console's list of devices: it alone, on a Redis of its own. */
export const directory: Row = {
  name: 'directory',
  title: `the console's list of ${sizes.join(' and ')} devices: Redis' memory for each, and the time for a page`,
  minutes: 3,
  async run({ sites, say }: RowContext) {
    const folder = join(sites.folder('directory'), 'redis');
    const port = await freePort();
    const server = await startRedis(folder, port);
    const url = `redis://127.0.0.1:${port}/0`;
    const log = createLog('silent');
    const redis = new Redis(url);
    const [keeper, list] = [createDirectoryKeeper(redisAt(url), log), createDirectory(redisAt(url), log)];
    const used = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
    const figures: Figure[] = [];
    const figure = (name: string, value: number, unit: string, most: number) =>
      void figures.push({ name, value: rounded(value), unit, goal: `≤ ${most}`, holds: value <= most });
    try {
      // both connections are there
      await redis.ping();
      const before = await used();
      await keeper.clear();
      let filled = 0;
      for (const size of sizes) {
        say(`${size} devices`);
        const began = performance.now();
        while (filled < size) {
          // as many as a worker enters at a time
          await keeper.fill(Array.from({ length: 500 }, (_, index) => entryOf(filled + index)));
          filled += 500;
        }
        figure(`${size}: filled in`, (performance.now() - began) / 1000, 's', Math.min(60, size / 5000));
        const again = performance.now();
        for (let index = 0; index < 20; index++)
          await keeper.put(Array.from({ length: 5000 }, (_, at) => entryOf(index * 5000 + at)));
        figure(`${size}: compared, 100,000 that are as they should be`, (performance.now() - again) / 1000, 's', 10);
        figure(`${size}: Redis' memory for a device`, ((await used()) - before) / size, 'bytes', 200);
        for (const [name, of] of queries)
          figures.push(await timesOf(`${size}: ${name}`, (index) => list.page(of(index))));
        figures.push(
          await timesOf(`${size}: serials that look like a mistyped one`, (index) =>
            findAlikeSerials(mistyped(serialOf(index * 499)), list.serialsFrom),
          ),
        );
      }
      return { figures };
    } finally {
      await Promise.all([keeper.close(), list.close()]);
      redis.disconnect();
      await server.stop();
    }
  },
};

async function timesOf(name: string, act: (index: number) => Promise<unknown>) {
  const times: number[] = [];
  for (let index = 0; index < pages; index++) {
    const began = performance.now();
    await act(index);
    times.push(performance.now() - began);
  }
  times.sort((one, other) => one - other);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))] ?? Number.NaN;
  return {
    name,
    value: rounded(at(0.5)),
    unit: `ms (p99 ${rounded(at(0.99))})`,
    goal: '≤ 300',
    holds: at(0.99) <= 300,
  };
}

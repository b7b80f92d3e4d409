import { cpSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import { until } from '../support/network.ts';
import { type Asker, createAsker } from './asking.ts';
import type { Figure } from './figures.ts';
import { judgePromises, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type Site, startSite } from './site.ts';

const boundMs = 60_000;
const hourMs = 3_600_000;

/**
 * Redis is restored from an older append-only file (or an older replica is promoted): it has requests that were answered
 * long ago, and knows nothing of what came after. Some of the devices have acknowledged their certificates, some have not
 * and never ask again, and some ask again.
 */
export async function olderRedis(
  { devices, random }: { devices: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers: 2 });
  try {
    let giveUpAt = performance.now() + 2 * boundMs;
    const options = { giveUpAt: () => giveUpAt };
    const credentials = await site.enrol(Array.from({ length: devices }, (_, index) => `older-${index + 1}`));
    const plans = await Promise.all(
      credentials.map(async (credential) => {
        const flow = random.pick<Flow>([
          [20, 'rsa'],
          [40, 'ec'],
          [40, 'csr'],
        ]);
        const then = random.pick<'acknowledges' | 'is silent' | 'asks again'>([
          [1, 'acknowledges'],
          [1, 'is silent'],
          [1, 'asks again'],
        ]);
        return { then, asker: await createAsker(credential, flow) };
      }),
    );
    const asking = (some: readonly { asker: Asker }[], acknowledges: boolean) =>
      some.map(({ asker }) => asker.ask(site.gateway, { ...options, acknowledges }));
    // the file is copied when it has the requests of the first half; the second half asks afterwards
    const half = Math.ceil(devices / 2);
    for (const worker of site.workers) worker.signal('SIGSTOP');
    const first = plans.slice(0, half).flatMap((plan) => asking([plan], plan.then === 'acknowledges'));
    await until(async () => (await waiting(site)) >= half, boundMs, 'the requests wait');
    await copyRedis(site);
    const replayed = await waiting(site);
    for (const worker of site.workers) worker.signal('SIGCONT');
    await Promise.all(first);
    await Promise.all(plans.slice(half).flatMap((plan) => asking([plan], plan.then === 'acknowledges')));
    await until(async () => (await waiting(site)) === 0, boundMs, 'the queue is empty');

    // while the older Redis is there, more devices ask
    const late = await site.enrol(Array.from({ length: half }, (_, index) => `older-late-${index + 1}`));
    const lateAskers = await Promise.all(late.map((credential) => createAsker(credential, 'ec')));
    const lateAsking = lateAskers.map(async (asker) => {
      await sleep(random.between(0, 4000));
      return asker.ask(site.gateway, { ...options, acknowledges: true });
    });
    await sleep(random.between(0, 2000));
    await restoreRedis(site);
    giveUpAt = performance.now() + boundMs;
    say(`Redis is back with ${replayed} requests that were answered before`);
    await Promise.all(
      asking(
        plans.filter(({ then }) => then === 'asks again'),
        true,
      ),
    );
    await Promise.all(lateAsking);
    await until(async () => (await waiting(site)) === 0, boundMs, 'the queue is empty');

    sayFindings(await site.sweepLater(hourMs), say);
    const parties = [...plans.map(({ asker }) => asker), ...lateAskers].map((asker) => ({
      serial: asker.serial,
      askers: [asker],
      ends: 'serves' as const,
    }));
    return [
      {
        name: 'older Redis: requests that it asks again',
        value: replayed,
        goal: `>= ${half}`,
        holds: replayed >= half,
      },
      ...(await judgePromises('older Redis', site, parties, say)),
    ];
  } finally {
    await site.close();
  }
}

/** How many requests and acknowledgements are in the queue. */
async function waiting({ redisUrl }: Site): Promise<number> {
  const redis = new Redis(redisUrl);
  try {
    const lists = await Promise.all([
      ...['wait', 'active'].map((name) => redis.llen(`{cvm}:asks:${name}`)),
      redis.zcard('{cvm}:asks:delayed'),
    ]);
    return lists.reduce((sum, length) => sum + length, 0);
  } finally {
    redis.disconnect();
  }
}

const redisFolder = ({ folder }: Site) => join(folder, 'redis', 'redis', 'appendonlydir');
const copyFolder = ({ folder }: Site) => join(folder, 'redis-copy');

/** The file is whole while nothing writes to it. */
async function copyRedis(site: Site): Promise<void> {
  await site.redis.kill();
  cpSync(redisFolder(site), copyFolder(site), { recursive: true });
  await site.redis.start();
}

async function restoreRedis(site: Site): Promise<void> {
  await site.redis.kill();
  rmSync(redisFolder(site), { recursive: true });
  cpSync(copyFolder(site), redisFolder(site), { recursive: true });
  await site.redis.start();
}

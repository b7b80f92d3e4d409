import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import type { Flow } from '../../gateway-sim/behaviour.ts';
import { createAsker } from './asking.ts';
import type { Figure } from './figures.ts';
import { judgePromises, type Party, sayFindings } from './promises.ts';
import type { Random } from './random.ts';
import { type Site, startSite } from './site.ts';

const everyMs = 2500;
const boundMs = 60_000;
const hourMs = 3_600_000;

/**
 * FLUSHALL while devices ask: some of their requests wait in the queue (the workers are stopped for a moment), some are
 * being worked on, and some devices have their certificate and have not acknowledged it. Each device asks once more after
 * its answer, as one that lost it, and then acknowledges.
 */
export async function flushes(
  { devices, times, random }: { devices: number; times: number; random: Random },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers: 2 });
  try {
    const credentials = await site.enrol(Array.from({ length: devices }, (_, index) => `flush-${index + 1}`));
    // slow calls: at every moment some request is in the middle of its attempt
    await site.dial([{ operation: '*', kind: 'latency', ms: 150, probability: 0.5 }]);
    let giveUpAt = Number.POSITIVE_INFINITY;
    const options = { giveUpAt: () => giveUpAt };
    const asking = credentials.map(async (credential): Promise<Party> => {
      const [startMs, forgetMs] = [random.between(0, times * everyMs), random.between(0, 2 * everyMs)];
      const flow = random.pick<Flow>([
        [20, 'rsa'],
        [40, 'ec'],
        [40, 'csr'],
      ]);
      const asker = await createAsker(credential, flow);
      await sleep(startMs);
      await asker.ask(site.gateway, options);
      await sleep(forgetMs);
      await asker.ask(site.gateway, { ...options, acknowledges: true });
      return { serial: asker.serial, askers: [asker], ends: 'serves' };
    });
    let lost = 0;
    for (let flush = 0; flush < times; flush++) lost += await flushOnce(site, random);
    say(`${times} times FLUSHALL; ${lost} requests waited or were worked on`);
    const backAt = performance.now();
    giveUpAt = backAt + boundMs;
    const parties = await Promise.all(asking);
    say(`all devices were served ${((performance.now() - backAt) / 1000).toFixed(1)} s after the last FLUSHALL`);
    await site.dial([]);
    sayFindings(await site.sweepLater(hourMs), say);
    return [
      {
        name: 'FLUSHALL: requests that it took from the queue',
        value: lost,
        goal: '>= 1',
        holds: lost >= 1,
      },
      ...(await judgePromises('FLUSHALL', site, parties, say)),
    ];
  } finally {
    await site.close();
  }
}

/** @returns how many requests were in the queue */
async function flushOnce(site: Site, random: Random): Promise<number> {
  await sleep(random.between(0.2, 0.6) * everyMs);
  for (const worker of site.workers) worker.signal('SIGSTOP');
  await sleep(random.between(0.2, 0.4) * everyMs);
  const redis = new Redis(site.redisUrl);
  const waiting = (await redis.keys('{cvm}:asks:*')).filter((key) => /:asks:[0-9a-f]{8}-[0-9a-f-]+$/.test(key)).length;
  await redis.flushall();
  redis.disconnect();
  for (const worker of site.workers) worker.signal('SIGCONT');
  return waiting;
}

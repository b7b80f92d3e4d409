import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { redisAt } from '../../queue/redis.ts';
import { createRequestQueue } from '../../queue/request-queue.ts';
import { createLog } from '../../runtime/log.ts';
import { until } from '../support/network.ts';
import { newGateway } from '../support/trust.ts';
import type { Figure } from './figures.ts';
import { startSite } from './site.ts';

const producers = 64;

/**
 * Requests that Redis acknowledged while it is killed again and again, through the broker's own queue, which decides on
 * the PUBACK. No worker runs, so every one of them must still be there at the end.
 */
export async function redisKills(
  { kills, requests }: { kills: number; requests: number },
  say: (line: string) => void,
): Promise<Figure[]> {
  const site = await startSite({ workers: 0 });
  const queue = createRequestQueue(redisAt(site.redisUrl), createLog('silent'), newGateway());
  const acknowledged: string[] = [];
  let stopped = false;
  const produce = async () => {
    while (!stopped) {
      const serial = `redis-${randomUUID()}`;
      const request = {
        requestId: randomUUID(),
        serial,
        tokenHash: `sha256:${serial}`,
        replyKey: 'k',
        key: 'ec' as const,
        receivedAt: Date.now(),
      };
      await queue.add(request).then(
        (answeredAs) => acknowledged.push(answeredAs?.requestId ?? ''),
        () => sleep(20),
      );
    }
  };
  try {
    const producing = Array.from({ length: producers }, produce);
    const each = Math.ceil(requests / kills);
    for (let kill = 1; kill <= kills; kill++) {
      const enough = acknowledged.length + each;
      await until(async () => acknowledged.length >= enough, 60_000, 'requests are stored');
      await site.redis.kill();
      await site.redis.start();
      if (kill % 20 === 0) say(`${kill} kills of Redis, ${acknowledged.length} requests acknowledged`);
    }
    stopped = true;
    await Promise.all(producing);
    const lost = await missing(site.redisUrl, acknowledged);
    return [
      {
        name: `acknowledged requests lost over ${kills} kills of Redis`,
        value: lost,
        unit: `of ${acknowledged.length}`,
        goal: `0 of >= ${requests}`,
        holds: lost === 0 && acknowledged.length >= requests,
      },
    ];
  } finally {
    stopped = true;
    await queue.close();
    await site.close();
  }
}

async function missing(redisUrl: string, requestIds: readonly string[]): Promise<number> {
  const redis = new Redis(redisUrl);
  let found = 0;
  for (let start = 0; start < requestIds.length; start += 1000)
    found += await redis.exists(...requestIds.slice(start, start + 1000).map((requestId) => `{cvm}:asks:${requestId}`));
  await redis.quit();
  return requestIds.length - found;
}

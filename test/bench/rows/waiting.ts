import { createHash, randomUUID } from 'node:crypto';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { makeDeviceKey } from '../../../gateway-sim/device-key.ts';
import { redisAt } from '../../../queue/redis.ts';
import { createRequestQueue, startRequestWorker } from '../../../queue/request-queue.ts';
import { createLog } from '../../../runtime/log.ts';
import { deriveReplyKeys } from '../../../sealing/replies.ts';
import { freePort } from '../../support/network.ts';
import { newGateway } from '../../support/trust.ts';
import { cpuMs } from '../processes.ts';
import { type Row, type RowContext, rounded } from '../row.ts';
import { startRedis } from '../site.ts';

/** How many requests wait, from a quiet minute to a site of a hundred thousand devices. */
const depths = [100, 10_000, 100_000] as const;

/** Requests that are added and answered at each depth, to see what one costs there. */
const sampled = 2000;

type Cost = {
  readonly depth: number /** of all that wait, with what they have in common */;
  readonly bytes: number;
  readonly cpuMs: number;
};

/**
 * The queue by itself, without a broker or AWS: its memory and CPU must not depend on how many wait. It alone of all rows
 * imports the product, since 100,000 devices cannot wait on one machine otherwise.
 */
export const waiting: Row = {
  name: 'waiting',
  title: `${depths.join(', ')} requests wait: Redis' memory for each, and the CPU to add and answer one`,
  minutes: 4,
  async run({ sites, say }: RowContext) {
    const folder = sites.folder('waiting');
    const costs: Cost[] = [];
    for (const depth of depths) {
      say(`${depth} requests wait`);
      costs.push(await costAt(depth, join(folder, String(depth))));
    }
    const [least = Number.NaN, most = Number.NaN] = [costs.at(0)?.cpuMs, costs.at(-1)?.cpuMs];
    return {
      figures: [
        ...costs.slice(1).map((cost, index) => memoryBetween(costs[index] as Cost, cost)),
        {
          name: `CPU to add and answer a request, ${depths.at(-1)} waiting against ${depths[0]}`,
          value: rounded(most / least, 3),
          unit: `(${rounded(least)} and ${rounded(most)} ms)`,
          goal: '≤ 1.1',
          holds: most / least <= 1.1,
        },
      ],
    };
  },
};

/** Of one request more: what all of them have in common (streams, scripts, lists) is in both figures, and goes out. */
function memoryBetween(less: Cost, more: Cost) {
  const bytes = (more.bytes - less.bytes) / (more.depth - less.depth);
  return {
    name: `Redis' memory for a waiting request with a CSR, from ${less.depth} to ${more.depth} waiting`,
    value: Math.round(bytes),
    unit: `bytes (and ${Math.round(less.bytes - less.depth * bytes)} for all together)`,
    goal: '≤ 1536',
    holds: bytes <= 1536,
  };
}

async function costAt(depth: number, folder: string): Promise<Cost> {
  const port = await freePort();
  const server = await startRedis(folder, port);
  const url = `redis://127.0.0.1:${port}/0`;
  const log = createLog('silent');
  const redis = new Redis(url);
  const queue = createRequestQueue(redisAt(url), log, newGateway());
  try {
    const used = async () => Number(/^used_memory:(\d+)/m.exec(await redis.info('memory'))?.[1]);
    const before = await used();
    await inParallel(depth, (index) => queue.add(requestOf(`waiting-${index}`)));
    const bytes = (await used()) - before;
    const cpu = async () =>
      (await cpuMs(server.pid)) + process.cpuUsage().user / 1000 + process.cpuUsage().system / 1000;
    // as many are answered as are added, so that the depth stays: the requests of before are the first in the line
    const prepared = Array.from({ length: sampled }, (_, index) => requestOf(`sampled-${depth}-${index}`));
    const began = await cpu();
    await inParallel(sampled, (index) => queue.add(prepared[index] as ReturnType<typeof requestOf>));
    await answer(url, sampled);
    return { depth, bytes, cpuMs: ((await cpu()) - began) / sampled };
  } finally {
    await queue.close();
    redis.disconnect();
    await server.stop();
  }
}

/** Takes so many requests from the queue and answers them, one after the other per slot. */
async function answer(url: string, count: number): Promise<void> {
  let answered = 0;
  let done: () => void = () => {};
  const enough = new Promise<void>((resolve) => {
    done = resolve;
  });
  const worker = startRequestWorker({
    redis: redisAt(url),
    concurrency: 16,
    log: createLog('silent'),
    async handle() {
      if (++answered === count) done();
      // those beyond the sample stay where they are
      if (answered > count) return { again: 30_000 };
      return 'answered';
    },
    async acknowledge() {},
  });
  await enough;
  await worker.close();
}

function requestOf(serial: string) {
  const tokenHash = createHash('sha256').update(serial).digest('hex');
  return {
    requestId: randomUUID(),
    serial,
    tokenHash: `sha256:${tokenHash}`,
    replyKey,
    csrPem,
    keyDigest: tokenHash,
    key: 'rsa' as const,
    receivedAt: Date.now(),
    remoteAddress: '192.0.2.1',
  };
}

const replyKey = deriveReplyKeys('any', 'any-token').publicKey;

const { csrPem } = await makeDeviceKey('waiting-12345');

async function inParallel(count: number, act: (index: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < count) await act(next++);
  };
  await Promise.all(Array.from({ length: 64 }, lane));
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { positionOf } from '../../broker/line-estimate.ts';
import type { Line } from '../../queue/line.ts';
import { recipientIdOf } from '../../queue/provisioning-request.ts';
import { disconnectRedis, redisAt, untilFirstTried } from '../../queue/redis.ts';
import { createLine } from '../../queue/redis-line.ts';
import { createRequestQueue, type Outcome, type RequestWorker, startRequestWorker } from '../../queue/request-queue.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';
import { lacks } from '../support/lacks.ts';
import { newGateway } from '../support/trust.ts';

const log = createLog('silent');
const replyKey = deriveReplyKeys('any', 'any-token').publicKey;
const numbered = (count: number) => Array.from({ length: count }, (_, index) => `r${`${index}`.padStart(3, '0')}`);

describe.skipIf(lacks('redis-server'))('a request that is tried again', () => {
  let folder: string;
  let server: EmbeddedRedis;
  let redis: Redis;
  let line: Line;
  let requests: ReturnType<typeof createRequestQueue>;
  let workers: RequestWorker[] = [];
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-retries-'));
    server = await startEmbeddedRedis({ dataDir: folder, log });
    redis = redisAt(server.url).connect('wait', log);
    await untilFirstTried(redis);
    line = createLine(redisAt(server.url), log);
    requests = createRequestQueue(redisAt(server.url), log, newGateway());
  });
  beforeEach(() => redis.flushall());
  afterEach(async () => {
    await Promise.all(workers.map((worker) => worker.close()));
    workers = [];
  });
  afterAll(async () => {
    await Promise.all([requests?.close(), line?.close(), disconnectRedis(redis)]);
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** One after the other, as the clock of the queue tells them apart. The id of each is its serial. */
  async function wait(serials: readonly string[]): Promise<void> {
    for (const serial of serials) {
      const asked = { tokenHash: `sha256:${serial}`, replyKey, key: 'ec' as const, receivedAt: Date.now() };
      await requests.add({ requestId: serial, serial, ...asked });
      const before = Date.now();
      while (Date.now() === before) await new Promise((resolve) => setImmediate(resolve));
    }
  }
  /** @param concurrency 1: the order of the answers is that of the queue */
  function work(handle: (serial: string) => Promise<Outcome>, concurrency = 1, random?: () => number): RequestWorker {
    const worker = startRequestWorker({
      redis: redisAt(server.url),
      concurrency,
      log,
      handle: ({ message }) => handle(message.serial),
      acknowledge: async () => {},
      ...(random === undefined ? {} : { random }),
    });
    workers.push(worker);
    return worker;
  }
  const positions = async (serials: readonly string[]) => {
    const shown = serials.map((serial) => ({
      requestId: serial,
      recipientId: recipientIdOf(serial, `sha256:${serial}`),
      waitedMs: 0,
    }));
    const { view, places } = await line.look(shown);
    return places.map((place) => place && positionOf(place, view));
  };

  it('keeps its place: after an outage of AWS all are answered in the order of their arrival, and were told so', async () => {
    const serials = numbered(60);
    await wait(serials);
    const told = await positions(serials);
    expect(told).toEqual(serials.map((_, index) => index + 1));
    const [failed, answered]: [Set<string>, string[]] = [new Set(), []];
    let away = true;
    work(async (serial) => {
      if (away) {
        failed.add(serial);
        throw new Error('AWS is away');
      }
      answered.push(serial);
      return 'answered';
    });
    await expect.poll(() => failed.size).toBe(serials.length);
    expect(await positions(serials)).toEqual(told);
    away = false;
    await expect.poll(() => answered.length).toBe(serials.length);
    // the first ones are those whose time had come
    const rest = answered.slice(2);
    expect(rest).toEqual([...rest].sort());
  });

  it('comes before those that arrived later, also when the worker that failed at it was replaced', async () => {
    const failed = numbered(4);
    await wait(failed);
    const failing = work(async () => {
      throw new Error('AWS is away');
    });
    await expect.poll(() => redis.zcard('{cvm}:asks:delayed')).toBe(failed.length);
    await failing.close();
    const later = numbered(100).map((each) => `s${each}`);
    await wait(later);
    const answered: string[] = [];
    work(async (serial) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      answered.push(serial);
      return 'answered';
    });
    await expect.poll(() => answered.length).toBe(failed.length + later.length);
    // the new worker learns by the first answer that AWS is there
    for (const serial of failed) expect(answered.indexOf(serial)).toBeLessThan(50);
  });

  it('loses its place when it fails again and again while others are answered: they do not wait for it', async () => {
    const poisoned = numbered(20).map((each) => `poisoned-${each}`);
    await wait(poisoned);
    const answered: string[] = [];
    const tries = new Map<string, number>();
    const served = numbered(120);
    await wait(served);
    await positions([...poisoned, ...served]);
    // without a back-off: the worst case
    work(
      async (serial) => {
        await new Promise((resolve) => setTimeout(resolve, 5));
        tries.set(serial, (tries.get(serial) ?? 0) + 1);
        if (serial.startsWith('poisoned')) throw new Error('always');
        answered.push(serial);
        return 'answered';
      },
      4,
      () => 0.001,
    );
    await expect.poll(() => answered.length).toBe(served.length);
    expect(answered).toEqual(served);
    for (const each of poisoned) expect(tries.get(each)).toBeGreaterThan(1);
    await wait(['another']);
    await expect.poll(() => answered.at(-1)).toBe('another');
  });

  it('keeps its place while it waits for another attempt of the same device', async () => {
    await wait(['busy', ...numbered(30)]);
    const answered: string[] = [];
    let busy = true;
    work(async (serial) => {
      if (serial === 'busy' && busy) {
        busy = false;
        return { again: 100 };
      }
      await new Promise((resolve) => setTimeout(resolve, 50));
      answered.push(serial);
      return 'answered';
    });
    await expect.poll(() => answered.length).toBe(31);
    expect(answered.indexOf('busy')).toBeLessThan(30);
    expect(answered.filter((each) => each !== 'busy')).toEqual(numbered(30));
  });
});

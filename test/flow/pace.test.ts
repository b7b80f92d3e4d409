import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Pace } from '../../queue/pace.ts';
import { disconnectRedis, redisAt, untilFirstTried } from '../../queue/redis.ts';
import { createPace } from '../../queue/redis-pace.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { bytesSentFor } from '../support/bytes-sent.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');
const key = '{cvm}:pace';

describe.skipIf(lacks('redis-server'))('the pace in Redis', () => {
  let folder: string;
  let server: EmbeddedRedis;
  let [worker, broker]: Pace[] = [];
  let redis: Redis;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-pace-'));
    server = await startEmbeddedRedis({ dataDir: folder, log });
    redis = redisAt(server.url).connect('wait', log);
    await untilFirstTried(redis);
    [worker, broker] = [createPace(redisAt(server.url), log), createPace(redisAt(server.url), log)];
    // a command of `answer-now` fails before its connection is there
    await vi.waitFor(() => Promise.all([worker?.readPace(), broker?.readPace()]), 45_000);
  });
  beforeEach(() => redis.del(key));
  afterAll(async () => {
    await Promise.all([worker?.close(), broker?.close(), disconnectRedis(redis)]);
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('is what a worker said last, at every broker', async () => {
    expect(await broker?.readPace()).toBeUndefined();
    await worker?.notePace(9.81234);
    await worker?.notePace(4.9);
    expect(await broker?.readPace()).toBe(4.9);
  });

  it('is forgotten when no worker says it any more', async () => {
    await worker?.notePace(9.8);
    expect(await redis.ttl(key)).toBeGreaterThan(0);
  });

  it('is read no further than a pace is long: a writer of Redis may have left 500 MB there', async () => {
    await redis.set(key, '9'.repeat(5_000_000));
    const sent = await bytesSentFor(redis, async () => expect(await broker?.readPace()).toBeUndefined());
    expect(sent).toBeLessThan(100_000);
  });

  it.each(['', 'fast', '-1', '0', 'NaN', '1e9', '9'.repeat(400)])('is not known where Redis has %j', async (text) => {
    await redis.set(key, text);
    expect(await broker?.readPace()).toBeUndefined();
  });

  it('heals a key of another type', async () => {
    await redis.lpush(key, 'x');
    expect(await broker?.readPace()).toBeUndefined();
    await worker?.notePace(3);
    expect(await broker?.readPace()).toBe(3);
  });
});

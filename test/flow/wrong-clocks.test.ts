import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { type RedisConnector, redisAt } from '../../queue/redis.ts';
import { createRosterStore } from '../../queue/redis-roster.ts';
import { createTokenAttemptLimiter } from '../../queue/redis-token-attempts.ts';
import { createRequestQueue, type Outcome, startRequestWorker } from '../../queue/request-queue.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');
const hour = 3_600_000;
const patience = { timeout: 30_000 };

/** Redis keeps the end of a key's life in time of its own clock: set back, that clock lets a key live so much longer. */
describe.skipIf(lacks('redis-server'))('a clock that was hours ahead, and is right again,', () => {
  let folder: string;
  let server: EmbeddedRedis;
  let redis: Redis;
  const closing: { close(): Promise<unknown> }[] = [];
  beforeAll(async () => {
    vi.spyOn(Date, 'now').mockImplementation(() => realNow() + aheadMs);
    folder = mkdtempSync(join(tmpdir(), 'cvm-clocks-'));
    server = await startEmbeddedRedis({ dataDir: folder, log });
    redis = new Redis(server.url);
  });
  afterEach(async () => {
    setClockAhead(0);
    await Promise.all(closing.splice(0).map((each) => each.close()));
    await redis.flushall();
  });
  afterAll(async () => {
    vi.restoreAllMocks();
    await redis?.quit();
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const closed = <T extends { close(): Promise<unknown> }>(part: T): T => {
    closing.push(part);
    return part;
  };
  const startWorker = (handle: () => Promise<Outcome>, connector: RedisConnector = redisAt(server.url)) =>
    startRequestWorker({ redis: connector, concurrency: 4, log, handle, acknowledge: async () => {}, random: () => 1 });
  const startQueue = () => closed(createRequestQueue(redisAt(server.url), log));
  const request = (serial: string) => ({
    requestId: `of-${serial}`,
    serial,
    tokenHash: `sha256:${serial}`,
    replyKey: 'key',
    key: 'ec' as const,
    receivedAt: Date.now(),
  });
  const realNow = Date.now;
  let aheadMs = 0;
  const setClockAhead = (ms: number) => {
    aheadMs = ms;
  };

  it('lets requests that are to be tried again wait no longer than ever: all of them', async () => {
    const requests = startQueue();
    const waiting = Array.from({ length: 250 }, (_, index) => `waits-${index}`);
    setClockAhead(2 * hour);
    let isAway = true;
    const handled = new Set<string>();
    const worker = closed(
      startRequestWorker({
        redis: redisAt(server.url),
        concurrency: 16,
        log,
        async handle({ serial }) {
          if (isAway) throw new Error('AWS is away');
          handled.add(serial);
          return 'answered';
        },
        acknowledge: async () => {},
        random: () => 1,
      }),
    );
    await Promise.all(waiting.map((serial) => requests.add(request(serial))));
    await expect.poll(() => redis.zcard('{cvm}:asks:delayed'), patience).toBe(waiting.length);
    isAway = false;
    setClockAhead(0);
    await expect.poll(() => handled.size, patience).toBe(waiting.length);
    expect(await worker.alive()).toBe(true);
  });

  it('lets a worker that starts later find them', async () => {
    const requests = startQueue();
    setClockAhead(2 * hour);
    const first = startWorker(() => Promise.reject(new Error('AWS is away')));
    await requests.add(request('waits'));
    await expect.poll(() => redis.zcard('{cvm}:asks:delayed'), patience).toBe(1);
    await first.close();
    setClockAhead(0);
    const handle = vi.fn(async () => 'answered' as const);
    closed(startWorker(handle));
    await expect.poll(() => handle.mock.calls.length, patience).toBe(1);
  });

  it('lets a pause that AWS wanted end soon', async () => {
    const requests = startQueue();
    await redis.set('{cvm}:asks:limiter', Number.MAX_SAFE_INTEGER, 'PX', 2 * hour);
    const handle = vi.fn(async () => 'answered' as const);
    closed(startWorker(handle));
    await requests.add(request('paused'));
    await expect.poll(() => handle.mock.calls.length, patience).toBe(1);
  });

  it('lets another worker soon take up the request of one that died', async () => {
    const requests = startQueue();
    const connections: Redis[] = [];
    const connector: RedisConnector = {
      connect(use, ofLog) {
        const connection = redisAt(server.url).connect(use, ofLog);
        connections.push(connection);
        return connection;
      },
    };
    const taken = vi.fn(() => new Promise<Outcome>(() => {}));
    startWorker(taken, connector);
    await requests.add(request('orphan'));
    await expect.poll(() => taken.mock.calls.length, patience).toBe(1);
    // the worker dies: it extends its lock no longer
    for (const connection of connections) connection.disconnect();
    await redis.pexpire('{cvm}:asks:of-orphan:lock', 2 * hour);
    await redis.set('{cvm}:asks:stalled-check', 1, 'PX', 2 * hour);
    const handle = vi.fn(async () => 'answered' as const);
    closed(startWorker(handle));
    await expect.poll(() => handle.mock.calls.length, patience).toBe(1);
  });

  it('lets another worker soon keep the roster of one that died', async () => {
    const roster = closed(createRosterStore(redisAt(server.url), log));
    await expect.poll(() => roster.lead('dead', 100).catch(() => false), patience).toBe(true);
    await redis.pexpire('{cvm}:roster:leader', 2 * hour);
    await expect.poll(() => roster.lead('alive', 100), patience).toBe(true);
  });

  it('lets nobody wait longer for an attempt at a token than the limits say', async () => {
    const limiter = closed(createTokenAttemptLimiter(redisAt(server.url), log, { perSerial: 2 }));
    const attempt = (token: string) =>
      limiter
        .begin({ serial: 'SN-1', tokenHash: `sha256:${token}`, address: '192.0.2.1', purpose: 'ec' })
        .catch(() => undefined);
    await expect.poll(() => attempt('a').then((begun) => begun?.verdict), patience).toBe('go');
    for (const name of ['pause:serial SN-1', 'serial:SN-1', 'pause:address 192.0.2.1', 'address:192.0.2.1'])
      await redis.set(`{cvm}:guess:${name}`, 1_000_000, 'PX', 2 * hour);
    await redis.set(`{cvm}:guess:pause:address 192.0.2.1`, 1_000_000, 'PX', 4 * hour);
    await expect.poll(() => attempt('b').then((begun) => begun?.verdict), patience).toBe('go');
  });
});

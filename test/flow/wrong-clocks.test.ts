import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { type RedisConnector, redisAt } from '../../queue/redis.ts';
import { createRosterStore } from '../../queue/redis-roster.ts';
import { createTokenAttemptLimiter } from '../../queue/redis-token-attempts.ts';
import { createRequestQueue, type Outcome, type RequestWorker, startRequestWorker } from '../../queue/request-queue.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { deriveReplyKeys } from '../../sealing/replies.ts';
import { loadGateway } from '../../site-tls/gateway-key.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { newGateway, tableKey } from '../support/trust.ts';

const log = createLog('silent');
const hour = 3_600_000;
const realNow = Date.now;
const patience = { timeout: 45_000 };
const request = (serial: string) => ({
  requestId: `of-${serial}`,
  serial,
  tokenHash: `sha256:${serial}`,
  replyKey: 'A'.repeat(43),
  key: 'ec' as const,
  receivedAt: Date.now(),
});

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
  const startQueue = () => closed(createRequestQueue(redisAt(server.url), log, newGateway()));
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
        async handle({ message: { serial } }) {
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

  it('makes no request look old that was stored before the clock was set forward, or by a clock that was wrong', async () => {
    const requests = startQueue();
    const waited = new Map<string, number>();
    const add = (serial: string, receivedAt: number) => requests.add({ ...request(serial), receivedAt });
    const handle = async ({ message }: { message: { serial: string } }, ms: number) => {
      waited.set(message.serial, ms);
      return 'answered' as const;
    };
    const start = () =>
      closed(
        startRequestWorker({ redis: redisAt(server.url), concurrency: 4, log, handle, acknowledge: async () => {} }),
      );
    await add('days-ago', Date.now() - 48 * hour);
    await add('in-1970', 1000);
    const first = start();
    await expect.poll(() => waited.size, patience).toBe(2);
    await first.close();
    expect(waited.get('days-ago')).toBeGreaterThanOrEqual(48 * hour);
    expect(waited.get('in-1970')).toBe(0);
    // a broker sees its clock jump by three days; the worker starts later, and sees nothing
    requests.clockSet(72 * hour);
    await expect.poll(() => redis.exists('{cvm}:even-since'), patience).toBe(1);
    await add('before-the-step', Date.now() - 72 * hour);
    start();
    await expect.poll(() => waited.size, patience).toBe(3);
    expect(waited.get('before-the-step')).toBeLessThan(hour);
  });

  it('makes no request look old in the second in which the clock is set forward: the waiting ones are taken up at once', async () => {
    const requests = startQueue();
    const waited: number[] = [];
    let isAway = true;
    const worker: RequestWorker = closed(
      startRequestWorker({
        redis: redisAt(server.url),
        concurrency: 4,
        log,
        async handle(_request, ms) {
          if (isAway) throw new Error('AWS is away');
          waited.push(ms);
          return 'answered';
        },
        acknowledge: async () => {},
        // as the app does, by way of runtime/clock-steps.ts
        lookAtClock: () => worker.clockSet(aheadMs),
        random: () => 1,
      }),
    );
    await requests.add(request('waits'));
    await expect.poll(() => redis.zcard('{cvm}:asks:delayed'), patience).toBe(1);
    isAway = false;
    setClockAhead(48 * hour);
    await expect.poll(() => waited.length, patience).toBe(1);
    expect(waited[0]).toBeLessThan(hour);
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
      where: 'here',
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
    const roster = closed(createRosterStore(redisAt(server.url), log, async () => tableKey()));
    await expect.poll(() => roster.lead('dead', 100).catch(() => false), patience).toBe(true);
    await redis.pexpire('{cvm}:roster:leader', 2 * hour);
    await expect.poll(() => roster.lead('alive', 100), patience).toBe(true);
  });

  it('lets no device wait longer for an attempt at a token than the limits say', async () => {
    const limiter = closed(createTokenAttemptLimiter(redisAt(server.url), log, { perSerial: 2 }));
    const attempt = (token: string) =>
      limiter
        .begin({ serial: 'SN-1', tokenHash: `sha256:${token}`, address: '192.0.2.1', purpose: 'ec' })
        .catch(() => undefined);
    await expect.poll(() => attempt('a').then((begun) => begun?.verdict), patience).toBe('go');
    for (const name of ['pause:serial SN-1', 'serial:SN-1', 'pause:address 192.0.2.1'])
      await redis.set(`{cvm}:guess:${name}`, 1_000_000, 'PX', 2 * hour);
    await redis.set(`{cvm}:guess:pause:address 192.0.2.1`, 1_000_000, 'PX', 4 * hour);
    await expect.poll(() => attempt('b').then((begun) => begun?.verdict), patience).toBe('go');
  });
});

describe.skipIf(lacks('redis-server'))('a worker whose clock is hours away from that of AWS', () => {
  let gateway: Gateway;
  let aheadMs = 0;
  beforeAll(async () => {
    // the stand-in takes the time of its `Date` header from elsewhere
    vi.spyOn(Date, 'now').mockImplementation(() => realNow() + aheadMs);
    gateway = await startGateway();
  });
  afterAll(async () => {
    await gateway?.close();
    vi.restoreAllMocks();
  });

  it.each([
    ['ahead', 2 * hour],
    ['behind', -2 * hour],
  ])('judges tokens by the time of AWS, and says that its clock is %s', async (where, ms) => {
    const good = await gateway.enrol(`good-${where}`, { tokenLifetimeMs: hour });
    const spent = await gateway.enrol(`spent-${where}`, { tokenLifetimeMs: 1 });
    await gateway.worker.close();
    // a date header has no fraction of a second
    await sleep(1100);
    aheadMs = ms;
    gateway.startOneWorker();
    expect(await askOnce(gateway.broker, good.serial, { token: good.token, key: 'ec' })).toMatchObject({
      status: 'accepted',
    });
    expect(await askOnce(gateway.broker, spent.serial, { token: spent.token, key: 'ec' })).toMatchObject({
      status: 'rejected',
    });
    const row = await gateway.registry.find(good.serial);
    expect(Math.abs((row?.requestedAt ?? 0) - realNow())).toBeLessThan(hour);
    aheadMs = 0;
    await expect.poll(gateway.logText).toMatch(new RegExp(`the clock of this machine is ${where}.*best by NTP`));
  });

  it('takes no request for too old when its clock is days ahead of the broker', async () => {
    await gateway.worker.close();
    aheadMs = 72 * hour;
    const redis = new Redis(gateway.redis.url);
    // the broker of this process sees the step; one on another machine, whose clock is right, does not
    await expect.poll(() => redis.del('{cvm}:even-since'), patience).toBe(1);
    await redis.quit();
    const requests = createRequestQueue(redisAt(gateway.redis.url), log, await loadGateway(gateway.dataDir));
    gateway.startOneWorker();
    const serial = 'asks-a-worker-ahead';
    const { publicKey: replyKey } = deriveReplyKeys(serial, 'a-token');
    await requests.add({ ...request(serial), replyKey, tokenHash: hashToken('a-token'), receivedAt: realNow() });
    const refusal = () =>
      gateway
        .logText()
        .split('\n')
        .filter((line) => line.includes(serial) && line.includes('"msg":"refused"'))
        .map((line) => JSON.parse(line));
    await expect.poll(refusal, patience).toHaveLength(1);
    expect(refusal()[0]).toMatchObject({ errorCode: 'InvalidToken' });
    expect(refusal()[0].ms).toBeLessThan(hour);
    aheadMs = 0;
    await requests.close();
  });
});

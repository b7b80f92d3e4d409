import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { type QuotaBuckets, quotaRule, shareOf } from '../../aws/quota-buckets.ts';
import { disconnectRedis, redisAt } from '../../queue/redis.ts';
import { createQuotaBuckets } from '../../queue/redis-quota-buckets.ts';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';
import { limits, quotaBucketsContract } from './quota-buckets-suite.ts';

const log = createLog('silent');
const key = '{cvm}:quota';

async function open() {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-quota-'));
  const server = await startEmbeddedRedis({ dataDir: folder, log });
  const redis = redisAt(server.url).connect('wait', log);
  const [one, other] = [1, 2].map(() => createQuotaBuckets(redisAt(server.url), log, limits, quotaRule));
  if (one === undefined || other === undefined) throw new Error('there are two');
  await vi.waitFor(() => Promise.all([one.rates(), other.rates()]), 45_000);
  return {
    buckets: one satisfies QuotaBuckets,
    /** of another worker */
    other,
    redis,
    clear: () => redis.del(key),
    async close() {
      await Promise.all([one.close(), other.close(), disconnectRedis(redis)]);
      await server.close();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

if (!lacks('redis-server')) quotaBucketsContract('in Redis', open);

describe.skipIf(lacks('redis-server'))('quota buckets that workers share in Redis', () => {
  let fixture: Awaited<ReturnType<typeof open>>;
  let redis: Redis;
  beforeAll(async () => {
    fixture = await open();
    redis = fixture.redis;
  });
  beforeEach(() => fixture.clear());
  afterAll(() => fixture?.close());

  it('count the tokens and the throttled calls of every worker', async () => {
    const { buckets, other } = fixture;
    expect(await buckets.takeAll({ Scarce: 2 })).toBe(0);
    expect(await other.takeAll({ Scarce: 1 })).toBeGreaterThan(0);
    const rate = await buckets.throttled('Ample', 0);
    expect((await other.rates()).Ample).toBeCloseTo(rate ?? 0, 0);
  });

  it('give each token to one worker, however many ask at once', async () => {
    const { buckets, other } = fixture;
    const waits = await Promise.all(
      Array.from({ length: 40 }, (_, index) => (index % 2 === 0 ? buckets : other).takeAll({ Scarce: 1 })),
    );
    expect(waits.filter((waitMs) => waitMs === 0)).toHaveLength(quotaRule.leastBurst);
  });

  it.each([
    'nonsense',
    '',
    'nan nan nan nan 0',
    '1e999 1.0 1.000000 1.0 0',
    'inf 1.0 1.000000 1.0 0',
    `-${'9'.repeat(200)}.0 1.0 1.000000 1.0 0`,
  ])('take %j for a full bucket', async (text) => {
    await redis.hset(key, 'Scarce', text);
    expect(await fixture.buckets.takeAll({ Scarce: 2 })).toBe(0);
  });

  it('keep what a stranger writes within bounds: debts, rates and times', async () => {
    await redis.hset(key, 'Ample', '-99999999999.000000 99999999999999.000 0.000000 99999999999999.000 1');
    const { Ample = 0 } = await fixture.buckets.rates();
    expect(Ample).toBeCloseTo(limits.Ample * quotaRule.ceiling * quotaRule.floor, 3);
    const waitMs = await fixture.buckets.takeOne('Ample');
    expect(waitMs).toBeLessThanOrEqual(((quotaRule.debtSeconds + 1) / quotaRule.floor) * 1000);
  });

  it.each([2_000, 15_000, 26_000])('return to the quota as those of one process do: after %i ms', async (calmMs) => {
    const now = Date.now();
    await redis.hset(key, 'Ample', `0.000000 ${now}.000 0.200000 ${now - calmMs}.000 0`);
    const share = shareOf({ level: 0, at: now, share: 0.2, cutAt: now - calmMs, steep: false }, now, quotaRule);
    const { Ample = 0 } = await fixture.buckets.rates();
    expect(Ample / (limits.Ample * quotaRule.ceiling)).toBeCloseTo(share, 1);
  });

  it('count a bucket of the future as one of now, and not as empty until then', async () => {
    const { buckets } = fixture;
    const tomorrow = (Date.now() + 86_400_000).toFixed(3);
    await redis.hset(key, 'Scarce', `2.000000 ${tomorrow} 1.000000 0.000 0`);
    expect(await buckets.takeAll({ Scarce: 2 })).toBe(0);
  });

  it('heal a key of another type', async () => {
    await redis.set(key, 'x');
    expect(await fixture.buckets.takeAll({ Scarce: 1 })).toBe(0);
    expect(await redis.type(key)).toBe('hash');
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { redisAt } from '../../queue/redis.ts';
import { createTokenAttemptLimiter } from '../../queue/redis-token-attempts.ts';
import type { TokenAttemptLimiter } from '../../queue/token-attempts.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');

describe.skipIf(lacks('redis-server'))('attempts at tokens', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-attempts-'));
  let redis: EmbeddedRedis;
  let keys: Redis;
  const books: TokenAttemptLimiter[] = [];
  beforeAll(async () => {
    redis = await startEmbeddedRedis({ dataDir, log });
    keys = new Redis(redis.url);
  });
  beforeEach(() => keys.flushall());
  afterAll(async () => {
    for (const book of books) await book.close();
    keys.disconnect();
    await redis.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const attemptOf = (serial: string, tokenHash: string, address: string, purpose = 'rsa') => ({
    serial,
    tokenHash,
    address,
    purpose,
  });
  /** A broker's limiter, with the shortest pauses unless a test is about them. */
  const open = (limits = {}) => {
    const book = createTokenAttemptLimiter(redisAt(redis.url), log, {
      pauseSeconds: 0,
      wrongPerAddress: 1000,
      ...limits,
    });
    books.push(book);
    return book;
  };
  const ready = async (limits = {}) => {
    const book = open(limits);
    await expect
      .poll(() =>
        book.begin(attemptOf('warm-up', hashToken('x'), 'w')).then(
          () => true,
          () => false,
        ),
      )
      .toBe(true);
    return book;
  };
  let tried = 0;
  const guess = async (book: TokenAttemptLimiter, serial = 'SN', address = '10.0.0.1') => {
    const found = await book.begin(attemptOf(serial, hashToken(`guess ${tried++}`), address));
    if (found.verdict === 'go') await found.settle('wrong');
    return found.verdict;
  };

  it('are evaluated five times for a serial, across all brokers and addresses', async () => {
    const two = [await ready(), await ready()];
    const verdicts = await Promise.all(
      Array.from({ length: 400 }, (_, index) => guess(two[index % 2] as TokenAttemptLimiter, 'SN', `10.0.0.${index}`)),
    );
    expect(verdicts.filter((verdict) => verdict === 'go')).toHaveLength(5);
    expect(verdicts.filter((verdict) => verdict === 'wait')).toHaveLength(395);
    expect(await guess(two[0] as TokenAttemptLimiter, 'another')).toBe('go');
  });

  it('wait until the serial was quiet for the whole window: no window has more than five', async () => {
    const book = await ready({ serialSeconds: 2 });
    const at: number[] = [];
    const end = Date.now() + 7000;
    while (Date.now() < end) {
      if ((await guess(book)) === 'go') at.push(Date.now());
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    expect(at.length).toBeGreaterThan(5);
    for (const start of at)
      expect(at.filter((time) => time >= start && time < start + 1900).length).toBeLessThanOrEqual(5);
  }, 20_000);

  it('at one serial wait twice as long after each', async () => {
    const book = await ready({ pauseSeconds: 1 });
    const waits: number[] = [];
    for (let round = 0; round < 3; round++) {
      expect(await guess(book)).toBe('go');
      const found = await book.begin(attemptOf('SN', hashToken('next'), '10.0.0.2'));
      waits.push(found.verdict === 'wait' ? found.seconds : 0);
      await keys.del('{cvm}:guess:pause:serial SN');
    }
    expect(waits).toEqual([1, 2, 4]);
  });

  it('with the same token are one attempt, and its outcome is remembered', async () => {
    const book = await ready();
    const first = await book.begin(attemptOf('SN', hashToken('same'), 'a'));
    expect((await book.begin(attemptOf('SN', hashToken('same'), 'b'))).verdict).toBe('go');
    if (first.verdict === 'go') await first.settle('wrong');
    expect((await book.begin(attemptOf('SN', hashToken('same'), 'c'))).verdict).toBe('wrong');
    expect(await keys.get('{cvm}:guess:serial:SN')).toBe('1');
  });

  it('are not evaluated before they are allowed, however many arrive at once', async () => {
    const two = [await ready({ pauseSeconds: 1 }), await ready({ pauseSeconds: 1 })];
    const verdicts = await Promise.all(
      Array.from({ length: 200 }, async (_, index) => {
        const token = hashToken(`one of many ${index}`);
        const twice = await Promise.all(two.map((book) => book.begin(attemptOf('SN', token, '10.0.0.1'))));
        return twice.some(({ verdict }) => verdict === 'go');
      }),
    );
    expect(verdicts.filter((evaluated) => evaluated).length).toBeLessThanOrEqual(5);
  });

  it('with one token for different purposes count one by one, since each causes work', async () => {
    const book = await ready();
    const token = hashToken('one token');
    const verdicts: string[] = [];
    for (let index = 0; index < 50; index++)
      verdicts.push((await book.begin(attemptOf('SN', token, 'a', `CSR ${index}`))).verdict);
    expect(verdicts.filter((verdict) => verdict === 'go')).toHaveLength(5);
  });

  it('with an undecided token wait for the pause of their address; with a token that is known to be right they do not', async () => {
    const book = await ready({ wrongPerAddress: 1 });
    const [open, right] = [hashToken('open'), hashToken('right')];
    await book.begin(attemptOf('one', open, 'a'));
    const found = await book.begin(attemptOf('two', right, 'a'));
    if (found.verdict === 'go') await found.settle('right');
    for (const serial of ['three', 'four']) await guess(book, serial, 'a');
    expect((await book.begin(attemptOf('one', open, 'a'))).verdict).toBe('wait');
    expect((await book.begin(attemptOf('one', open, 'b'))).verdict).toBe('go');
    expect((await book.begin(attemptOf('two', right, 'a'))).verdict).toBe('go');
  });

  it('that turn out to be right are not counted', async () => {
    const book = await ready({ perSerial: 1 });
    const found = await book.begin(attemptOf('SN', hashToken('right'), 'a'));
    if (found.verdict === 'go') await found.settle('right');
    expect(await guess(book)).toBe('go');
    expect(await guess(book)).toBe('wait');
    expect((await book.begin(attemptOf('SN', hashToken('right'), 'a'))).verdict).toBe('go');
  });

  it('from one address lead to doubling pauses, and other addresses are not delayed', async () => {
    const book = await ready({ wrongPerAddress: 3 });
    const pauses: number[] = [];
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 4; index++) expect(await guess(book, `SN-${round}-${index}`)).toBe('go');
      const found = await book.begin(attemptOf('fresh', hashToken('t'), '10.0.0.1'));
      pauses.push(found.verdict === 'wait' ? found.seconds : 0);
      expect(await guess(book, `other-${round}`, '10.0.0.9')).toBe('go');
      await keys.del('{cvm}:guess:pause:address 10.0.0.1', '{cvm}:guess:address:10.0.0.1');
    }
    expect(pauses).toEqual([60, 120, 240]);
  });

  it('leave only keys in Redis that expire', async () => {
    const book = await ready({ pauseSeconds: 1 });
    for (let index = 0; index < 30; index++) await guess(book, `SN-${index % 7}`);
    for (const key of await keys.keys('{cvm}:guess:*')) expect(await keys.pttl(key)).toBeGreaterThan(0);
  });
});

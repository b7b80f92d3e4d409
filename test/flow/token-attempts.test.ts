import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { redisAt } from '../../queue/redis.ts';
import { createTokenAttemptLimiter } from '../../queue/redis-token-attempts.ts';
import { createWrongTokenLimiter } from '../../queue/redis-wrong-tokens.ts';
import type { TokenAttemptLimiter, TokenAttemptLimits, WrongTokenLimiter } from '../../queue/token-attempts.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');

describe.skipIf(lacks('redis-server'))('attempts at tokens', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-attempts-'));
  let redis: EmbeddedRedis;
  let keys: Redis;
  const books: { close(): Promise<void> }[] = [];
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
  /** A worker's limiter. */
  const worker = async (limits: Partial<TokenAttemptLimits> = {}) => {
    const limiter = createWrongTokenLimiter(redisAt(redis.url), log, limits);
    books.push(limiter);
    await expect.poll(() => limiter.begin('warm-up').catch(() => undefined)).toBeDefined();
    return limiter;
  };
  /** Judges one token of this address. */
  const judge = async (limiter: WrongTokenLimiter, isWrong: boolean, address = '10.0.0.1') => {
    const found = await limiter.begin(address);
    if (found.verdict === 'go') await found.settle(isWrong);
    return found.verdict === 'wait' ? found.seconds : found.verdict;
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
    // Redis granted each at some time between these two
    const granted: { from: number; to: number }[] = [];
    while (granted.length < 16) {
      const from = Date.now();
      if ((await guess(book)) === 'go') granted.push({ from, to: Date.now() });
      await new Promise((resolve) => setTimeout(resolve, 40));
    }
    for (const [index, { from }] of granted.slice(0, -5).entries())
      expect((granted[index + 5]?.to ?? 0) - from).toBeGreaterThan(1900);
  });

  it('at one serial wait twice as long after each', async () => {
    const pauseSeconds = 100;
    const book = await ready({ pauseSeconds });
    const waits: number[] = [];
    for (let round = 0; round < 3; round++) {
      expect(await guess(book)).toBe('go');
      const found = await book.begin(attemptOf('SN', hashToken('next'), '10.0.0.2'));
      // a part of the pause is over by now
      waits.push(found.verdict === 'wait' ? Math.round(found.seconds / pauseSeconds) : 0);
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
    const [book, judging] = [await ready(), await worker({ wrongPerAddress: 1 })];
    const [open, right] = [hashToken('open'), hashToken('right')];
    await book.begin(attemptOf('one', open, 'a'));
    const found = await book.begin(attemptOf('two', right, 'a'));
    if (found.verdict === 'go') await found.settle('right');
    await judge(judging, true, 'a');
    expect((await book.begin(attemptOf('one', open, 'a'))).verdict).toBe('wait');
    expect(await book.begin(attemptOf('one', open, 'b'))).toMatchObject({ verdict: 'go', wasRight: false });
    // nor does its worker take a place for it
    expect(await book.begin(attemptOf('two', right, 'a'))).toMatchObject({ verdict: 'go', wasRight: true });
  });

  it('that turn out to be right are not counted', async () => {
    const book = await ready({ perSerial: 1 });
    const found = await book.begin(attemptOf('SN', hashToken('right'), 'a'));
    if (found.verdict === 'go') await found.settle('right');
    expect(await guess(book)).toBe('go');
    expect(await guess(book)).toBe('wait');
    expect((await book.begin(attemptOf('SN', hashToken('right'), 'a'))).verdict).toBe('go');
  });

  it('that come faster than they may be tried wait for their turn', async () => {
    const book = await ready({ perSecond: 30, maxTurnSeconds: 60 });
    const verdicts = await Promise.all(Array.from({ length: 90 }, (_, index) => guess(book, `SN-${index}`)));
    expect(new Set(verdicts)).toEqual(new Set(['go']));
  });

  it('whose turn is far away are told to come back, and do not count for their serial', async () => {
    const book = await ready({ perSecond: 0.001 });
    expect(await book.begin(attemptOf('SN', hashToken('x'), 'a'))).toEqual({
      verdict: 'wait',
      // a thousand, less what has passed by then
      seconds: expect.closeTo(1000, -2),
      isCrowded: true,
    });
    expect(await keys.get('{cvm}:guess:serial:SN')).toBe('0');
    expect(await keys.exists('{cvm}:guess:pause:serial SN')).toBe(0);
  });

  it('of no use, which no worker judges, count against their address', async () => {
    const book = await ready({ wrongPerAddress: 3 });
    for (let index = 0; index < 3; index++) {
      const found = await book.begin(attemptOf(`SN-${index}`, hashToken('x'), 'a'));
      if (found.verdict === 'go') await found.settle('unused');
    }
    expect((await book.begin(attemptOf('fresh', hashToken('x'), 'a'))).verdict).toBe('wait');
    expect((await book.begin(attemptOf('fresh', hashToken('x'), 'b'))).verdict).toBe('go');
  });

  it('with wrong tokens lead to doubling pauses of their address, and other addresses are not delayed', async () => {
    const [book, judging] = [await ready(), await worker({ wrongPerAddress: 3 })];
    const pauses: (number | string)[] = [];
    for (let round = 0; round < 3; round++) {
      for (let index = 0; index < 3; index++) expect(await judge(judging, true)).toBe('go');
      expect(await judge(judging, true, '10.0.0.9')).toBe('go');
      pauses.push(await judge(judging, true));
      const found = await book.begin(attemptOf(`fresh-${round}`, hashToken('t'), '10.0.0.1'));
      expect(found).toEqual({ verdict: 'wait', seconds: expect.closeTo(Number(pauses.at(-1)), -1) });
      await keys.del('{cvm}:guess:pause:address 10.0.0.1', '{cvm}:guess:wrong:10.0.0.1', '{cvm}:guess:wrong:10.0.0.9');
    }
    // less what has passed by then
    expect(pauses).toEqual([60, 120, 240].map((seconds) => expect.closeTo(seconds, -1)));
  });

  it('are judged in twenty places of an address, over all workers, and a place is taken before the token is judged', async () => {
    const two = [await worker(), await worker()] as const;
    const begun = await Promise.all(Array.from({ length: 60 }, (_, index) => two[index % 2 === 0 ? 0 : 1].begin('a')));
    const places = begun.flatMap((found) => (found.verdict === 'go' ? [found] : []));
    expect(places).toHaveLength(20);
    expect(begun.filter(({ verdict }) => verdict === 'full')).toHaveLength(40);
    // right ones give their places back: another may be judged for each, and no more
    for (const place of places.splice(0, 5)) await place.settle(false);
    const later = await Promise.all(Array.from({ length: 30 }, () => two[1].begin('a')));
    places.push(...later.flatMap((found) => (found.verdict === 'go' ? [found] : [])));
    expect(places).toHaveLength(20);
    // wrong ones keep them: the last of twenty makes the address wait
    for (const place of places) await place.settle(true);
    expect(await two[0].begin('a')).toEqual({ verdict: 'wait', seconds: expect.closeTo(60, -1) });
    expect((await two[0].begin('b')).verdict).toBe('go');
  });

  it('with 2,000 right tokens of one address are all judged, and use up nothing', async () => {
    const judging = await worker();
    const verdicts: (number | string)[] = [];
    // a worker has 64 requests under way
    const run = async () => {
      while (verdicts.length < 2000) {
        const verdict = await judge(judging, false);
        // it has waited for a place for a second: a worker tries again
        if (verdict !== 'full') verdicts.push(verdict);
      }
    };
    await Promise.all(Array.from({ length: 64 }, run));
    expect(new Set(verdicts)).toEqual(new Set(['go']));
    expect(await keys.exists('{cvm}:guess:judging:10.0.0.1', '{cvm}:guess:wrong:10.0.0.1')).toBe(0);
  });

  it('that a worker was judging when it died end with the minute, and so does a time that a clock set back left there', async () => {
    const judging = await worker({ wrongPerAddress: 2 });
    const now = Date.now();
    await keys.zadd('{cvm}:guess:judging:10.0.0.1', now - 60_001, 'of a dead worker', now + 7_200_000, 'of the future');
    await keys.zadd('{cvm}:guess:wrong:10.0.0.1', now - 60_001, 'long ago', now + 7_200_000, 'of the future');
    expect(await judge(judging, true)).toBe('go');
    await keys.zadd('{cvm}:guess:judging:10.0.0.1', Date.now() - 50_000, 'of a dead worker');
    expect(await judge(judging, true)).toBe('full');
  });

  it('leave only keys in Redis that expire', async () => {
    const book = await ready({ pauseSeconds: 1 });
    const judging = await worker({ wrongPerAddress: 5 });
    for (let index = 0; index < 30; index++) await guess(book, `SN-${index % 7}`);
    await judging.begin('10.0.0.2');
    for (let index = 0; index < 9; index++) await judge(judging, index > 2);
    expect((await keys.keys('{cvm}:guess:*')).length).toBeGreaterThan(10);
    // -1: it stays for ever. -2: it has expired since it was listed
    for (const key of await keys.keys('{cvm}:guess:*')) expect(await keys.pttl(key)).not.toBe(-1);
  });
});

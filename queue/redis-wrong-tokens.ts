import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import type { Log } from '../runtime/log.ts';
import { createMalformedReport, type ReportMalformed } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { createPauses } from './redis-pauses.ts';
import { tokenAttemptsKey } from './stored-keys.ts';
import {
  defaultTokenAttemptLimits,
  type TokenAttemptLimits,
  type WrongTokenLimiter,
  type WrongTokenVerdict,
} from './token-attempts.ts';
import { withoutWrongType } from './wrong-type.ts';

/** An address may have `wrongPerAddress` wrong tokens in any period of this length. After it, the places of a worker that died are free again. */
const windowMs = 60_000;

/** How long a worker lets a request wait for a place, and how often it looks, in milliseconds. Others hold one for some milliseconds. */
const [waitForPlaceMs, lookAgainMs] = [1000, 10];

/** How long a pause is remembered: the next pause of the same address is twice as long. Seconds. */
const strikeSeconds = 6 * 3600;

/**
 * KEYS: sorted sets of the tokens of one address that are being judged, and of those that were wrong, by the time of Redis' clock.
 * What is of the far future was written before that clock was set back.
 * `begin`: @returns 1 when there was a place. `end`, `wrong`: @returns how many were wrong
 */
const script = `
local judging, wrong = KEYS[1], KEYS[2]
local verb, place, limit, windowMs = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('time')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
for _, key in ipairs(KEYS) do
  redis.call('zremrangebyscore', key, '-inf', now - windowMs)
  redis.call('zremrangebyscore', key, now + windowMs, '+inf')
end
local function note(key)
  redis.call('zadd', key, now, place)
  redis.call('pexpire', key, windowMs)
end
if verb == 'begin' then
  if redis.call('zcard', judging) + redis.call('zcard', wrong) >= limit then return 0 end
  note(judging)
  return 1
end
redis.call('zrem', judging, place)
if verb == 'wrong' and redis.call('zcard', wrong) < limit then note(wrong) end
return redis.call('zcard', wrong)`;

type Limits = Pick<TokenAttemptLimits, 'wrongPerAddress' | 'maxAddressPauseSeconds'>;

/** Wrong tokens by address, as broker and worker count them. Every key expires. */
export function createWrongTokenCounts(
  redis: Redis,
  reportMalformed: ReportMalformed,
  { wrongPerAddress, maxAddressPauseSeconds }: Limits,
) {
  const pauses = createPauses(redis);
  const strikes = new RateLimiterRedis({
    storeClient: redis,
    keyPrefix: tokenAttemptsKey('strikes'),
    points: 1_000_000,
    duration: strikeSeconds,
  });
  const pausedMs = (address: string) => pauses.leftMs(`address ${address}`, maxAddressPauseSeconds * 1000);

  function run(verb: 'begin' | 'end' | 'wrong', address: string, place: string): Promise<number> {
    const keys = [tokenAttemptsKey(`judging:${address}`), tokenAttemptsKey(`wrong:${address}`)];
    return withoutWrongType(redis, keys, reportMalformed, async () =>
      Number(await redis.eval(script, 2, ...keys, verb, place, wrongPerAddress, windowMs)),
    );
  }

  async function pause(address: string): Promise<void> {
    // wrong tokens that were under way when the limit was reached cause one pause, not one each
    if ((await pausedMs(address)) > 0) return;
    const key = strikes.getKey(address);
    const { consumedPoints } = await withoutWrongType(redis, [key], reportMalformed, () => strikes.consume(address));
    await pauses.begin(`address ${address}`, Math.min(maxAddressPauseSeconds, 60 * 2 ** (consumedPoints - 1)));
  }

  return {
    /** How long this address has to wait, in milliseconds; 0 when it has not. */
    pausedMs,
    /** Whether there was a place for one more token that may be wrong. */
    begin: async (address: string, place: string) => (await run('begin', address, place)) === 1,
    end: (address: string, place: string) => run('end', address, place),
    /** A token was wrong, or its request was of no use. It keeps its place for a minute; the last place makes the address wait. */
    async countWrong(address: string, place: string = randomUUID()): Promise<void> {
      if ((await run('wrong', address, place)) >= wrongPerAddress) await pause(address);
    },
  };
}

/** The worker's side, in Redis. */
export function createWrongTokenLimiter(
  connector: RedisConnector,
  log: Log,
  limits: Partial<TokenAttemptLimits> = {},
): WrongTokenLimiter {
  const redis = connector.connect('answer-now', log);
  const counts = createWrongTokenCounts(redis, createMalformedReport(log), { ...defaultTokenAttemptLimits, ...limits });
  // a place that is not given back ends by itself
  const debug = (err: unknown) => log.debug({ err }, 'the outcome of a token could not be counted');
  /** of each address, the last request that waits for a place: one at a time asks Redis, so they go in order */
  const lines = new Map<string, Promise<unknown>>();

  async function placeOf(address: string, until: number): Promise<WrongTokenVerdict> {
    const waitMs = await counts.pausedMs(address);
    if (waitMs > 0) return { verdict: 'wait', seconds: Math.ceil(waitMs / 1000) };
    const place = randomUUID();
    if (await counts.begin(address, place)) {
      const settle = (isWrong: boolean) =>
        (isWrong ? counts.countWrong(address, place) : counts.end(address, place).then(() => {})).catch(debug);
      return { verdict: 'go', settle };
    }
    if (performance.now() > until) return { verdict: 'full' };
    await sleep(lookAgainMs);
    return placeOf(address, until);
  }

  return {
    async begin(address): Promise<WrongTokenVerdict> {
      const until = performance.now() + waitForPlaceMs;
      const before = lines.get(address) ?? Promise.resolve();
      const found = before.then(() => placeOf(address, until));
      const last = found.catch(() => {});
      lines.set(address, last);
      try {
        return await found;
      } finally {
        if (lines.get(address) === last) lines.delete(address);
      }
    },
    close: () => disconnectRedis(redis),
  };
}

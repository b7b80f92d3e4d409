import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import { recipientIdOf } from './provisioning-request.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { attemptedTokenKey, tokenAttemptsKey } from './stored-forms.ts';
import {
  defaultTokenAttemptLimits,
  type TokenAttemptLimiter,
  type TokenAttemptLimits,
  type TokenAttemptVerdict,
} from './token-attempts.ts';
import { withoutWrongType } from './wrong-type.ts';

/**
 * The library's own script counts in fixed windows, so twice the points fit around their border. This one begins the window
 * again with each point that is granted or given back. A point that is given back after the window ended does not make the
 * count negative.
 */
const slidingWindow = `
local consumed = redis.call('incrby', KEYS[1], ARGV[1])
if consumed < 0 then redis.call('set', KEYS[1], 0); consumed = 0 end
if consumed <= tonumber(ARGV[3]) then redis.call('expire', KEYS[1], ARGV[2]) end
return {consumed, redis.call('pttl', KEYS[1])}`;

/** How long a token stays undecided when the broker that decides about it dies, in seconds. */
const undecidedSeconds = 10;

/** What Redis knows of a token: its outcome, or, after `open`, the request with which it is being evaluated. */
type Known = 'wrong' | 'right' | `open ${string}`;
/** A broker is deciding whether the token may be evaluated. */
const undecided = 'asking';

/** Counts attempts in Redis. Every key expires. */
export function createTokenAttemptLimiter(
  connector: RedisConnector,
  log: Log,
  limits: Partial<TokenAttemptLimits> = {},
): TokenAttemptLimiter {
  const { perSerial, serialSeconds, pauseSeconds, wrongPerAddress, maxAddressPauseSeconds, perSecond } = {
    ...defaultTokenAttemptLimits,
    ...limits,
  };
  // the library defines its script once for each connection
  const [redis, sliding] = [connector.connect('answer-now', log), connector.connect('answer-now', log)];
  const reportMalformed = createMalformedReport(log);
  const owning = <T>(key: string, work: () => Promise<T>) => withoutWrongType(redis, [key], reportMalformed, work);
  const counter = (name: string, points: number, duration: number) =>
    new RateLimiterRedis({ storeClient: redis, keyPrefix: tokenAttemptsKey(name), points, duration });
  const serials = new RateLimiterRedis({
    storeClient: sliding,
    keyPrefix: tokenAttemptsKey('serial'),
    points: perSerial,
    duration: serialSeconds,
    customIncrTtlLuaScript: slidingWindow,
  });
  const pauses = counter('pause', 1, 1);
  const addresses = counter('address', wrongPerAddress, 60);
  const strikes = counter('strikes', 1_000_000, 6 * 3600);
  const all = new RateLimiterMemory({ points: perSecond, duration: 1 });

  const reward = (serial: string) => owning(serials.getKey(serial), () => serials.reward(serial));

  const consume = (from: RateLimiterRedis | RateLimiterMemory, key: string) =>
    from instanceof RateLimiterMemory ? from.consume(key) : owning(from.getKey(key), () => from.consume(key));

  /** Takes a point, or gives the time in milliseconds until there is one. */
  async function take(
    from: RateLimiterRedis | RateLimiterMemory,
    key: string,
  ): Promise<{ taken: number; waitMs?: never } | { waitMs: number }> {
    try {
      return { taken: (await consume(from, key)).consumedPoints };
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const waitMs = Math.max(1, refusal.msBeforeNext);
      if (waitMs <= from.duration * 1000) return { waitMs };
      // no window is so long: Redis' clock was set back meanwhile, and the window counts as over
      await from.delete(key);
      return take(from, key);
    }
  }

  const longestSerialPauseMs = pauseSeconds * 2 ** (perSerial - 1) * 1000;
  const pauseOfSerial = (serial: string) => pauseOf(`serial ${serial}`, longestSerialPauseMs);
  const pauseOfAddress = (address: string) => pauseOf(`address ${address}`, maxAddressPauseSeconds * 1000);

  /** How long this pause lasts, in milliseconds; 0 without one. */
  async function pauseOf(key: string, longestMs: number): Promise<number> {
    const ms = (await pauses.get(key))?.msBeforeNext ?? 0;
    if (ms <= longestMs) return Math.max(0, ms);
    // as in `take`
    await pauses.delete(key);
    return 0;
  }

  /** Counts a new attempt. @returns how long it has to wait, in milliseconds; 0 when it was counted */
  async function countAttempt(serial: string, address: string): Promise<number> {
    const pausedFor = Math.max(...(await Promise.all([pauseOfSerial(serial), pauseOfAddress(address)])));
    if (pausedFor > 0) return pausedFor;
    const one = await take(serials, serial);
    if (one.waitMs !== undefined) return one.waitMs;
    // last: an attempt that is refused for its serial must not use up the points of others
    const some = await take(all, 'all');
    if (some.waitMs !== undefined) {
      await reward(serial);
      return some.waitMs;
    }
    // for the library, 0 is a pause without end
    if (pauseSeconds > 0) await pauses.block(`serial ${serial}`, pauseSeconds * 2 ** (one.taken - 1));
    return 0;
  }

  /** The wait of a repeated attempt: it is not counted, but causes work until the token is known to be right. */
  async function repeatAttempt(known: Known, address: string): Promise<number> {
    return known === 'right' ? 0 : pauseOfAddress(address);
  }

  /**
   * Equal attempts that arrive together wait until the first one is decided.
   * @returns undefined to the first one, which decides
   */
  async function claimOrRead(key: string): Promise<Known | typeof undecided | undefined> {
    for (let patience = 20; patience > 0; patience--) {
      if ((await redis.set(key, undecided, 'EX', undecidedSeconds, 'NX')) === 'OK') return undefined;
      const known = (await owning(key, () => redis.get(key))) as Known | typeof undecided | null;
      if (known !== null && known !== undecided) return known;
      await sleep(50);
    }
    // as in `take`: the broker that decides has long died
    if ((await redis.pttl(key)) > undecidedSeconds * 1000) await redis.del(key);
    return undecided;
  }

  async function penalizeAddress(address: string): Promise<void> {
    if ((await take(addresses, address)).waitMs === undefined) return;
    // wrong attempts that were under way when the limit was reached cause one pause, not one each
    if ((await pauseOfAddress(address)) > 0) return;
    const { consumedPoints } = await consume(strikes, address);
    await pauses.block(`address ${address}`, Math.min(maxAddressPauseSeconds, 60 * 2 ** (consumedPoints - 1)));
  }

  return {
    async begin({ serial, tokenHash, address, purpose }): Promise<TokenAttemptVerdict> {
      // the same token for the same purpose is one attempt, at whichever broker and however often it is presented
      const key = attemptedTokenKey(recipientIdOf(serial, tokenHash));
      const remember = (known: Known) => redis.set(key, known, 'EX', serialSeconds);
      const open: Known = `open ${createHash('sha256').update(purpose).digest('base64url')}`;
      const known = await claimOrRead(key);
      if (known === 'wrong') return { verdict: 'wrong' };
      if (known === undecided) return { verdict: 'wait', seconds: 1 };

      const counts = known === undefined || (known !== open && known !== 'right');
      const waitMs = counts ? await countAttempt(serial, address) : await repeatAttempt(known, address);
      if (known === undefined && waitMs > 0) await redis.del(key);
      if (waitMs > 0) return { verdict: 'wait', seconds: Math.ceil(waitMs / 1000) };
      if (counts) await remember(open);
      return {
        verdict: 'go',
        async settle(outcome) {
          if (outcome !== 'unknown') await remember(outcome);
          if (outcome === 'right' && counts) {
            await reward(serial);
            await pauses.delete(`serial ${serial}`);
          }
          if (outcome !== 'right') await penalizeAddress(address);
        },
      };
    },
    async close() {
      await Promise.all([disconnectRedis(redis), disconnectRedis(sliding)]);
    },
  };
}

import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Log } from '../runtime/log.ts';
import { recipientIdOf } from './provisioning-request.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { attemptedTokenKey, tokenAttemptsKey } from './stored-forms.ts';
import {
  defaultTokenAttemptLimits,
  type TokenAttemptLimiter,
  type TokenAttemptLimits,
  type TokenAttemptVerdict,
} from './token-attempts.ts';

/**
 * Unlike the library's own, a window that ends when nothing was granted for its length: in no stretch of that length are
 * more points granted. What is given back after the window's end does not count below nothing.
 */
const slidingWindow = `
local consumed = redis.call('incrby', KEYS[1], ARGV[1])
if consumed < 0 then redis.call('set', KEYS[1], 0); consumed = 0 end
if consumed <= tonumber(ARGV[3]) then redis.call('expire', KEYS[1], ARGV[2]) end
return {consumed, redis.call('pttl', KEYS[1])}`;

/** How long a broker may take to find out whether a token may be tried, in seconds; longer only if it dies meanwhile. */
const askingSeconds = 10;

/** What is known of a token: what came of it, or for what it is being tried, which `open` begins. */
type Known = 'wrong' | 'right' | `open ${string}`;
const asking = 'asking';

/** The guess book in Redis. Every key ends by itself. */
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

  /** Takes a point, or says for how many milliseconds there is none. */
  async function take(
    from: RateLimiterRedis | RateLimiterMemory,
    key: string,
  ): Promise<{ taken: number; waitMs?: never } | { waitMs: number }> {
    try {
      return { taken: (await from.consume(key)).consumedPoints };
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      return { waitMs: Math.max(1, refusal.msBeforeNext) };
    }
  }

  async function pausedMs(...keys: string[]): Promise<number> {
    const found = await Promise.all(keys.map((key) => pauses.get(key)));
    return Math.max(0, ...found.map((pause) => pause?.msBeforeNext ?? 0));
  }

  /** For how many milliseconds this may not be tried, as a guess that counts; none when it was counted. */
  async function tryAsNew(serial: string, address: string): Promise<number> {
    const pausedFor = await pausedMs(`serial ${serial}`, `address ${address}`);
    if (pausedFor > 0) return pausedFor;
    const one = await take(serials, serial);
    if (one.waitMs !== undefined) return one.waitMs;
    // last: what is refused for its serial must not use up what others have
    const some = await take(all, 'all');
    if (some.waitMs !== undefined) {
      await serials.reward(serial);
      return some.waitMs;
    }
    // zero would be for ever
    if (pauseSeconds > 0) await pauses.block(`serial ${serial}`, pauseSeconds * 2 ** (one.taken - 1));
    return 0;
  }

  /** The same, for what is tried already: no new guess, but work, until the token is known to be right. */
  async function tryAgain(known: Known, address: string): Promise<number> {
    return known === 'right' ? 0 : pausedMs(`address ${address}`);
  }

  /**
   * Nobody follows through a door that is not open yet: who comes second waits for what is decided of the first.
   * @returns undefined to the one who decides
   */
  async function claimOrRead(key: string): Promise<Known | typeof asking | undefined> {
    for (let patience = 20; patience > 0; patience--) {
      if ((await redis.set(key, asking, 'EX', askingSeconds, 'NX')) === 'OK') return undefined;
      const known = (await redis.get(key)) as Known | typeof asking | null;
      if (known !== null && known !== asking) return known;
      await sleep(50);
    }
    return asking;
  }

  async function penalizeAddress(address: string): Promise<void> {
    if ((await take(addresses, address)).waitMs === undefined) return;
    // the guesses that were under way when the limit was reached are one transgression
    if ((await pausedMs(`address ${address}`)) > 0) return;
    const { consumedPoints } = await strikes.consume(address);
    await pauses.block(`address ${address}`, Math.min(maxAddressPauseSeconds, 60 * 2 ** (consumedPoints - 1)));
  }

  return {
    async begin({ serial, tokenHash, address, requestKey }): Promise<TokenAttemptVerdict> {
      // one token, however often and wherever it is tried, is one guess
      const key = attemptedTokenKey(recipientIdOf(serial, tokenHash));
      const remember = (known: Known) => redis.set(key, known, 'EX', serialSeconds);
      const open: Known = `open ${createHash('sha256').update(requestKey).digest('base64url')}`;
      const known = await claimOrRead(key);
      if (known === 'wrong') return { verdict: 'wrong' };
      if (known === asking) return { verdict: 'wait', seconds: 1 };

      const counts = known === undefined || (known !== open && known !== 'right');
      const waitMs = counts ? await tryAsNew(serial, address) : await tryAgain(known, address);
      if (known === undefined && waitMs > 0) await redis.del(key);
      if (waitMs > 0) return { verdict: 'wait', seconds: Math.ceil(waitMs / 1000) };
      if (counts) await remember(open);
      return {
        verdict: 'go',
        async settle(outcome) {
          if (outcome !== 'unknown') await remember(outcome);
          if (outcome === 'right' && counts) {
            await serials.reward(serial);
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

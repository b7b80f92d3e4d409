import { setTimeout as sleep } from 'node:timers/promises';
import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Log } from '../runtime/log.ts';
import { boxOf } from './ask.ts';
import { defaultGuessLimits, type Guess, type GuessBook, type GuessLimits } from './guesses.ts';
import { connectRedis, disconnectRedis, keyPrefix } from './redis.ts';

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

/** What is known of a token. `asking`: it is not decided yet whether it may be tried at all. */
type Known = 'asking' | 'open' | 'wrong' | 'right';

/** The guess book in Redis. Every key ends by itself. */
export function createGuessBook(redisUrl: string, log: Log, limits: Partial<GuessLimits> = {}): GuessBook {
  const { perSerial, serialSeconds, pauseSeconds, wrongPerAddress, maxAddressPauseSeconds, perSecond } = {
    ...defaultGuessLimits,
    ...limits,
  };
  // the library defines its script once for each connection
  const [redis, sliding] = [connectRedis(redisUrl, 'answer-now', log), connectRedis(redisUrl, 'answer-now', log)];
  const counter = (name: string, points: number, duration: number) =>
    new RateLimiterRedis({ storeClient: redis, keyPrefix: `${keyPrefix}:guess:${name}`, points, duration });
  const serials = new RateLimiterRedis({
    storeClient: sliding,
    keyPrefix: `${keyPrefix}:guess:serial`,
    points: perSerial,
    duration: serialSeconds,
    customIncrTtlLuaScript: slidingWindow,
  });
  const pauses = counter('pause', 1, 1);
  const addresses = counter('address', wrongPerAddress, 60);
  const strikes = counter('strikes', 1_000_000, 6 * 3600);
  const all = new RateLimiterMemory({ points: perSecond, duration: 1 });

  /** Takes a point, or says for how many milliseconds there is none. */
  async function take(from: RateLimiterRedis | RateLimiterMemory, key: string) {
    try {
      return { taken: (await from.consume(key)).consumedPoints };
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      return { waitMs: refusal.msBeforeNext };
    }
  }

  async function pausedMs(...keys: string[]): Promise<number> {
    const found = await Promise.all(keys.map((key) => pauses.get(key)));
    return Math.max(0, ...found.map((pause) => pause?.msBeforeNext ?? 0));
  }

  async function mayTry(serial: string, address: string): Promise<{ waitMs: number } | undefined> {
    const waitMs = await pausedMs(`serial ${serial}`, `address ${address}`);
    if (waitMs > 0) return { waitMs };
    const one = await take(serials, serial);
    if ('waitMs' in one) return { waitMs: one.waitMs ?? 1000 };
    // last: what is refused for its serial must not use up what others have
    const some = await take(all, 'all');
    if ('waitMs' in some) {
      await serials.reward(serial);
      return { waitMs: some.waitMs ?? 1000 };
    }
    // zero would be for ever
    if (pauseSeconds > 0) await pauses.block(`serial ${serial}`, pauseSeconds * 2 ** (one.taken - 1));
    return undefined;
  }

  /** Nobody follows through a door that is not open yet: who comes second waits for what is decided of the first. */
  async function ask(key: string): Promise<Known | 'new'> {
    for (let patience = 20; patience > 0; patience--) {
      if ((await redis.set(key, 'asking' satisfies Known, 'EX', askingSeconds, 'NX')) === 'OK') return 'new';
      const known = (await redis.get(key)) as Known | null;
      if (known !== null && known !== 'asking') return known;
      await sleep(50);
    }
    return 'asking';
  }

  /** A token that was tried before is no new guess, but still work, until it is known to be right. */
  async function mayRepeat(known: Known, address: string): Promise<{ waitMs: number } | undefined> {
    const waitMs = known === 'right' ? 0 : await pausedMs(`address ${address}`);
    return waitMs > 0 ? { waitMs } : undefined;
  }

  async function punish(address: string): Promise<void> {
    if ('taken' in (await take(addresses, address))) return;
    // the guesses that were under way when the limit was reached are one transgression
    if ((await pausedMs(`address ${address}`)) > 0) return;
    const { consumedPoints } = await strikes.consume(address);
    await pauses.block(`address ${address}`, Math.min(maxAddressPauseSeconds, 60 * 2 ** (consumedPoints - 1)));
  }

  return {
    async begin(serial, tokenHash, address): Promise<Guess> {
      // one token, however often and wherever it is tried, is one guess
      const key = `${keyPrefix}:guess:seen:${boxOf(serial, tokenHash)}`;
      const remember = (known: Known) => redis.set(key, known, 'EX', serialSeconds);
      const known = await ask(key);
      if (known === 'wrong') return { verdict: 'wrong' };
      if (known === 'asking') return { verdict: 'wait', seconds: 1 };

      const first = known === 'new';
      const wait = first ? await mayTry(serial, address) : await mayRepeat(known, address);
      if (first && wait === undefined) await remember('open');
      if (first && wait !== undefined) await redis.del(key);
      if (wait !== undefined) return { verdict: 'wait', seconds: Math.ceil(wait.waitMs / 1000) };
      return {
        verdict: 'go',
        async settle(outcome) {
          if (outcome !== 'unknown') await remember(outcome);
          if (outcome === 'right' && first) {
            await serials.reward(serial);
            await pauses.delete(`serial ${serial}`);
          }
          if (outcome !== 'right') await punish(address);
        },
      };
    },
    async close() {
      await Promise.all([disconnectRedis(redis), disconnectRedis(sliding)]);
    },
  };
}

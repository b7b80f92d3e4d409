import type { Redis } from 'ioredis';
import { RateLimiterRedis } from 'rate-limiter-flexible';
import { tokenAttemptsKey } from './stored-keys.ts';

/** Pauses of serials and addresses after attempts at tokens, in Redis. `about`: `serial …` or `address …`. */
export function createPauses(redis: Redis) {
  const pauses = new RateLimiterRedis({
    storeClient: redis,
    keyPrefix: tokenAttemptsKey('pause'),
    points: 1,
    duration: 1,
  });
  return {
    /** How long this pause lasts, in milliseconds; 0 without one. */
    async leftMs(about: string, longestMs: number): Promise<number> {
      const ms = (await pauses.get(about))?.msBeforeNext ?? 0;
      if (ms <= longestMs) return Math.max(0, ms);
      // this is longer than any pause: the clock of Redis was set back meanwhile, so the pause counts as over
      await pauses.delete(about);
      return 0;
    },
    /** @param seconds above 0: for the library, 0 is a pause without end */
    async begin(about: string, seconds: number): Promise<void> {
      await pauses.block(about, seconds);
    },
    async end(about: string): Promise<void> {
      await pauses.delete(about);
    },
  };
}

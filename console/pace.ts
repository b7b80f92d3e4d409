import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible';
import { Problem } from './problem.ts';

/**
 * What one caller, from one address, may have the console do: points in a time. A call costs `usualCost`, one that reads much costs more, and says
 * so in the `config` of its route. A person at a page needs a tenth of it; a program that is told to wait loses nothing.
 */
export const usualPace = { points: 1000, seconds: 10 };
export type Pace = typeof usualPace;

/** 200 calls in 10 s. */
export const usualCost = 5;

/** Looks that go through files: 25 in 10 s. */
export const costOfReading = 40;

export function createPaces({ points, seconds }: Pace) {
  const limiter = new RateLimiterMemory({ points, duration: seconds });
  return {
    /** @throws Problem with the seconds to wait, where this caller has had what it may have */
    async spend(caller: string, cost: number): Promise<void> {
      await limiter.consume(caller, cost).catch((refused: unknown) => {
        if (!(refused instanceof RateLimiterRes)) throw refused;
        const wait = Math.max(1, Math.ceil(refused.msBeforeNext / 1000));
        throw new Problem(429, 'TooManyCalls', 'too many calls of one caller', `wait ${wait} s, and try again`, wait);
      });
    },
  };
}

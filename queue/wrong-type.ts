import type { Redis } from 'ioredis';
import type { ReportMalformed } from './malformed.ts';

/** What Redis says, also from within a script, where a key has another type than ours, or a counter is no number. */
const saysWrongType = /\bWRONGTYPE\b|\bnot an integer\b/;

/**
 * Runs `work`. Where it meets a key of another type than ours, which no part of ours wrote, the `keys` are deleted, that is reported, and
 * `work` runs once more. Without that, such a key would stop its user for good.
 */
export async function withoutWrongType<T>(
  redis: Redis,
  keys: readonly string[],
  reportMalformed: ReportMalformed,
  work: () => Promise<T>,
): Promise<T> {
  return afterHealing(work, async () => {
    reportMalformed('a key of another type; it is deleted');
    await redis.del(...keys);
  });
}

/** Runs `work`. Where it meets a key of another type than ours, `heal` deletes that key, and `work` runs once more. */
export async function afterHealing<T>(work: () => Promise<T>, heal: () => Promise<unknown>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isWrongType(error)) throw error;
    await heal();
    return work();
  }
}

export const isWrongType = (error: unknown): boolean => error instanceof Error && saysWrongType.test(error.message);

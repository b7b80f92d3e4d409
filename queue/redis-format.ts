import type { Redis } from 'ioredis';
import { z } from 'zod';
import { NewerFormatError } from '../runtime/newer-format.ts';
import { formatKey } from './stored-keys.ts';

/** The form of what is kept in Redis. Raised when an earlier version must not work beside this one any more. */
export const redisFormat = 1;

const stored = z.object({ format: z.int().min(1), by: z.string().optional() });

/**
 * Marks a Redis with the form of its data, where it has no mark: an empty one, or one of a version before 0.2.0, which has the same form.
 * @param by the version that runs
 * @param where for people
 * @throws NewerFormatError where a later version has changed what is kept
 */
export async function claimRedis(redis: Redis, by: string, where: string): Promise<void> {
  const before = await redis.get(formatKey);
  if (before === null) {
    await redis.set(formatKey, JSON.stringify({ format: redisFormat, by }), 'NX');
    return;
  }
  // Redis is not trusted: a malformed mark must not stop a gateway
  const found = stored.safeParse(parsed(before)).data;
  if (found !== undefined && found.format > redisFormat)
    throw new NewerFormatError(`the Redis at ${where}`, { ...found, known: redisFormat });
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

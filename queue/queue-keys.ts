import type { Redis } from 'ioredis';
import type { ReportMalformed } from './malformed.ts';
import { jobKey } from './stored-keys.ts';

/** The keys that BullMQ has for a queue besides its jobs, with their types in Redis. */
const typeOfKey: Readonly<Record<string, string>> = {
  meta: 'hash',
  id: 'string',
  pc: 'string',
  'stalled-check': 'string',
  limiter: 'string',
  wait: 'list',
  active: 'list',
  paused: 'list',
  stalled: 'set',
  delayed: 'zset',
  prioritized: 'zset',
  completed: 'zset',
  failed: 'zset',
  marker: 'zset',
  events: 'stream',
};

/** Deletes those of the queue's own keys that have another type: no part of ours wrote them, and BullMQ would fail at them for ever. */
export async function deleteWrongQueueKeys(redis: Redis, reportMalformed: ReportMalformed): Promise<void> {
  const found = await Promise.all(
    Object.entries(typeOfKey).map(async ([name, type]) => ({
      key: jobKey(name),
      type,
      is: await redis.type(jobKey(name)),
    })),
  );
  const wrong = found.filter(({ type, is }) => is !== 'none' && is !== type).map(({ key }) => key);
  if (wrong.length === 0) return;
  reportMalformed('a key of the queue with another type; it is deleted');
  await redis.del(...wrong);
}

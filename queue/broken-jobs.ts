import type { Redis } from 'ioredis';
import type { ReportMalformed } from './malformed.ts';
import { jobKey } from './stored-keys.ts';
import { execAll } from './transaction.ts';

/** Jobs under way that are looked at in one pass. */
const atATime = 100;

/** The fields of a job that BullMQ parses before it knows which job it has. */
const parsedFields = ['data', 'opts', 'progress', 'parent'];

/**
 * BullMQ cannot take a job with broken JSON, and would look at it again for ever.
 * @returns drops those that were taken; to be called after BullMQ met one
 */
export function createBrokenJobDropper(redis: Redis, reportMalformed: ReportMalformed): () => Promise<void> {
  let [running, again] = [false, false];
  async function dropAll(): Promise<void> {
    for (const id of await redis.lrange(jobKey('active'), 0, atATime - 1)) {
      if ((await redis.hmget(jobKey(id), ...parsedFields)).every(isJson)) continue;
      reportMalformed('a job that is no JSON');
      await execAll(
        redis
          .multi()
          .lrem(jobKey('active'), 0, id)
          .srem(jobKey('stalled'), id)
          .del(jobKey(id), `${jobKey(id)}:lock`),
      );
    }
  }
  return async () => {
    again = true;
    // one pass at a time; a job that is taken during one is looked for in another after it
    if (running) return;
    running = true;
    try {
      while (again) {
        again = false;
        await dropAll();
      }
    } finally {
      running = false;
    }
  };
}

function isJson(text: string | null): boolean {
  if (text === null || text === '') return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

import type { Redis } from 'ioredis';
import { isPlausible } from '../runtime/plausible-time.ts';
import type { ReportMalformed } from './malformed.ts';
import { evenSinceKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** A shorter step makes no request look old: one is refused for its age after a day. Milliseconds. */
const leastStepMs = 3_600_000;

/** Writes down a step of the wall clock, so that the waiting time of a request can be told later. */
export async function noteClockStep(redis: Redis, byMs: number, now: number): Promise<void> {
  if (byMs >= leastStepMs) await redis.set(evenSinceKey, Math.round(now));
}

/**
 * How long a request has waited, in milliseconds: at least, since the part that lies before a step of the clock is not known.
 * @param receivedAt by the broker's clock
 * @param lookAtClock writes down a step that was not noticed yet, by way of `noteClockStep` on the same connection: as soon as the clock
 * is set forward, requests that wait for their time are taken up
 */
export async function waitedMs(
  redis: Redis,
  receivedAt: number,
  now: number,
  lookAtClock: () => void,
  reportMalformed: ReportMalformed,
): Promise<number> {
  // when the broker's clock was wrong, nothing is known
  if (!isPlausible(receivedAt)) return 0;
  const shown = Math.max(0, now - receivedAt);
  if (shown < leastStepMs) return shown;
  lookAtClock();
  // where Redis has something else there, the clock counts as even
  const text = await withoutWrongType(redis, [evenSinceKey], reportMalformed, () => redis.get(evenSinceKey));
  const evenSince = Number(text) || 0;
  return Math.max(0, now - Math.max(receivedAt, evenSince));
}

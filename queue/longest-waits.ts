import { Job } from 'bullmq';
import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';

/** How often the waits are looked at, in milliseconds. */
const usualEveryMs = 2000;

/** Delayed requests that are brought forward at a time. */
const batch = 100;

/** The longest that each may last, in milliseconds. */
export type LongestWaits = {
  /** until a request is tried again */
  readonly delayMs: number;
  /** the pause of all requests */
  readonly pauseMs: number;
  /** the lock of a request that a worker has taken up */
  readonly lockMs: number;
  /** until somebody looks for locks that have ended */
  readonly stalledMs: number;
};

/**
 * Bounds every wait in the queue by the longest that this program sets. BullMQ delays a request until a time of the worker's clock, and
 * Redis keeps the end of a key's life in time of its own clock. When such a clock was ahead and is set back, both would last
 * longer by as much. It makes no difference whose clock it was, or whether anybody was running at the time.
 * @param queue the worker; its names in Redis are those of BullMQ 6
 */
export function keepWaitsShort(options: {
  redis: Redis;
  queue: Parameters<typeof Job.fromId>[0];
  longest: LongestWaits;
  log: Log;
  now?: () => number;
  everyMs?: number;
}) {
  const { redis, queue, longest, log, now = () => Date.now(), everyMs = usualEveryMs } = options;
  let running: Promise<void> | undefined;

  async function shorten(key: string, longestMs: number): Promise<boolean> {
    if ((await redis.pttl(key)) <= longestMs) return false;
    await redis.pexpire(key, longestMs);
    return true;
  }

  async function shortenLocks(): Promise<number> {
    const taken = await redis.lrange(queue.toKey('active'), 0, -1);
    const outcomes = await Promise.all(taken.map((id) => shorten(`${queue.toKey(id)}:lock`, longest.lockMs)));
    return outcomes.filter(Boolean).length;
  }

  async function bringForward(): Promise<number> {
    // BullMQ's score of a delayed job: the time, and a number of 12 bits that keeps the order of equal times
    const latest = (now() + longest.delayMs + 1) * 0x1000;
    const ids = await redis.zrangebyscore(queue.toKey('delayed'), latest, '+inf', 'LIMIT', 0, batch);
    const outcomes = await Promise.all(ids.map(promote));
    const promoted = outcomes.filter(Boolean).length;
    return promoted === batch ? promoted + (await bringForward()) : promoted;
  }

  /** @returns false where another worker was faster */
  async function promote(id: string): Promise<boolean> {
    const job = await Job.fromId(queue, id);
    const outcome = job?.promote().then(
      () => true,
      () => false,
    );
    return outcome ?? false;
  }

  async function look(): Promise<void> {
    const [requests, locks, pause] = [
      await bringForward(),
      await shortenLocks(),
      await shorten(queue.toKey('limiter'), longest.pauseMs),
    ];
    const stalled = await shorten(queue.toKey('stalled-check'), longest.stalledMs);
    if (requests > 0 || locks > 0 || pause || stalled)
      log.warn(
        { requests, locks, pause },
        'a clock was ahead, and what waits for its time was brought forward: set the clocks of the machines of this site, best by NTP',
      );
  }

  const timer = setInterval(() => {
    // one look at a time: while Redis is away, it waits
    if (redis.status !== 'ready') return;
    running ??= look()
      .catch((err: unknown) => log.debug({ err }, 'the waits of the queue could not be looked at'))
      .finally(() => {
        running = undefined;
      });
  }, everyMs);
  return {
    async close(): Promise<void> {
      clearInterval(timer);
      if (redis.status === 'ready') await running;
    },
  };
}

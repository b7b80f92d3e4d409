import { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';

/** Longest wait between two attempts to reach a Redis that is away, in milliseconds. */
const reconnectMs = 1000;

type Use =
  /** fail at once when Redis is away: a device waits for the outcome */
  | 'answer-now'
  /** wait until Redis is back: nobody but us waits */
  | 'wait';

/**
 * A connection to Redis. It reconnects for ever; errors are logged once per outage, since ioredis repeats them at each
 * attempt.
 */
export function connectRedis(url: string, use: Use, log: Log): Redis {
  const patience =
    use === 'answer-now' ? { enableOfflineQueue: false, maxRetriesPerRequest: 1 } : { maxRetriesPerRequest: null };
  const options = { ...patience, retryStrategy: (attempt: number) => Math.min(attempt * 50, reconnectMs) };
  const redis = new Redis(url, options);
  let away = false;
  redis.on('error', (err: Error) => {
    if (!away) log.warn({ err }, 'Redis is away; trying again until it is back');
    away = true;
  });
  redis.on('ready', () => {
    if (away) log.info('Redis is back');
    away = false;
  });
  return redis;
}

/** Ends a connection, politely if Redis is there. */
export async function disconnectRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await redis.quit().catch(() => redis.disconnect());
  else redis.disconnect();
}

/**
 * What in the server's own settings breaks our promises, one sentence each.
 * @see https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
 */
export async function redisWarnings(redis: Redis): Promise<string[]> {
  const [persistence, memory] = await Promise.all([redis.info('persistence'), redis.info('memory')]);
  const warnings: string[] = [];
  if (!/aof_enabled:1/.test(persistence))
    warnings.push(
      'Redis has no append-only file: requests that devices were told are stored are lost when it stops. Set appendonly yes.',
    );
  const policy = /maxmemory_policy:(\S+)/.exec(memory)?.[1];
  if (policy !== 'noeviction')
    warnings.push(
      `Redis drops keys when memory is short (maxmemory-policy ${policy}). Set maxmemory-policy noeviction.`,
    );
  return warnings;
}

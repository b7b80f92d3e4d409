import { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import { createOutageLog } from '../runtime/outage-log.ts';

export type RedisUse =
  /** fail at once when Redis is away: for a caller that must not hang */
  | 'answer-now'
  /** wait until Redis is back; also for commands that block or listen */
  | 'wait';

/** Makes connections to the one Redis that all parts of a site share. `app/` passes it to the files of this folder. */
export type RedisConnector = {
  /** A new connection. It reconnects for ever; errors are logged once per outage. `disconnectRedis` ends it. */
  connect(use: RedisUse, log: Log): Redis;
};

/** Milliseconds. A connection on which a command gets no answer for `silent…Ms` is replaced by a new one. */
const usualTimes = {
  connectMs: 10_000,
  /** an idle connection is probed so often, and given up 10 s after the last answer to a probe */
  keepAliveMs: 10_000,
  /** longest wait between two attempts to connect */
  reconnectMs: 1000,
  /** for one command of `answer-now`; the broker gives up storing a request after the same time (broker/limits.ts) */
  commandMs: 5000,
  silentMs: 10_000,
  /** BullMQ's workers wait for up to 10 s in one command */
  silentWhileWaitingMs: 30_000,
};

/** The Redis at a `redis://` or `rediss://` URL. */
export function redisAt(url: string, times: Partial<typeof usualTimes> = {}): RedisConnector {
  const { connectMs, keepAliveMs, reconnectMs, commandMs, silentMs, silentWhileWaitingMs } = {
    ...usualTimes,
    ...times,
  };
  const optionsFor = {
    'answer-now': {
      enableOfflineQueue: false,
      maxRetriesPerRequest: 1,
      commandTimeout: commandMs,
      socketTimeout: silentMs,
    },
    // no commandTimeout: it would also count the time in which a command waits for Redis to come back
    wait: { maxRetriesPerRequest: null, socketTimeout: silentWhileWaitingMs },
  } satisfies Record<RedisUse, object>;
  return {
    connect(use, log) {
      const redis = new Redis(url, {
        ...optionsFor[use],
        connectTimeout: connectMs,
        keepAlive: keepAliveMs,
        retryStrategy: (attempt) => Math.min(attempt * 50, reconnectMs),
        // the server was demoted to a replica: the address may lead to the new master by now. 2: and repeat the command
        reconnectOnError: ({ message }) => (message.startsWith('READONLY') ? 2 : false),
      });
      logOutages(redis, log);
      return redis;
    },
  };
}

/** ioredis reports an error at each attempt to reconnect. */
function logOutages(redis: Redis, log: Log): void {
  const outage = createOutageLog(log, {
    away: 'Redis is away; trying again until it is back',
    back: 'Redis is back',
  });
  redis.on('error', (err: Error) => outage.failed(err, redisCure(err)));
  redis.on('ready', outage.succeeded);
}

/** The cure where Redis is there and does not let us in. */
export function redisCure({ message }: Error): string | undefined {
  if (!/^(WRONGPASS|NOAUTH|NOPERM)\b/.test(message)) return undefined;
  return 'Redis refuses; check user and password in REDIS_URL, and CVM_REDIS_PASSWORD_FILE where the URL has no password';
}

/** Ends a connection: with QUIT where Redis is there, else at once. */
export async function disconnectRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready') await redis.quit().catch(() => redis.disconnect());
  else redis.disconnect();
}

/**
 * The settings of the Redis server that break our promises, one sentence each.
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

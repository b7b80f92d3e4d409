import { Redis, type RedisOptions } from 'ioredis';
import { within } from '../runtime/deadline.ts';
import type { Log } from '../runtime/log.ts';
import { createOutageLog } from '../runtime/outage-log.ts';
import { type Address, type RedisPlace, redisPlace, redisPlaceText } from '../runtime/redis-place.ts';
import { redisCure } from './redis-cure.ts';
import { isStillOwner, type MovingPlace, masterConnector } from './redis-master.ts';

export type RedisUse =
  /** fail at once when Redis is away: for a caller that must not hang */
  | 'answer-now'
  /** wait until Redis is back; also for commands that block or listen */
  | 'wait'
  /** the same as `answer-now`, but a refusal is told, and not tried again at the next master */
  | 'probe';

/** Makes connections to the one Redis that all parts of a site share. `app/` passes it to the files of this folder. */
export type RedisConnector = {
  /** A new connection. It reconnects for ever; errors are logged once per outage. `disconnectRedis` ends it. */
  connect(use: RedisUse, log: Log): Redis;
  /** for people: the server, or those that know which one it is */
  readonly where: string;
  /** What a person does about a Redis that cannot be reached. Absent: it is theirs, at REDIS_URL. */
  readonly whenAway?: string;
};

/**
 * Milliseconds. A connection on which a command gets no answer for `silent…Ms` is replaced by a new one. Each is probed with a PING, so
 * that one on which nothing is asked does not stay silent for longer: on a connection that listens, announcements would be missed.
 */
const usualTimes = {
  connectMs: 10_000,
  probeMs: 3000,
  probeAnswerMs: 7000,
  /** the same by TCP, for a connection of BullMQ that blocks */
  keepAliveMs: 10_000,
  /** in a Cluster: whether the node on which a connection listens still has our keys */
  ownerMs: 10_000,
  /** longest wait between two attempts to connect */
  reconnectMs: 1000,
  /** for one command of `answer-now`; the broker gives up storing a request after the same time (broker/limits.ts) */
  commandMs: 5000,
  silentMs: 10_000,
  /** BullMQ's workers wait for up to 10 s in one command */
  silentWhileWaitingMs: 12_000,
};

/** Where Sentinel or a Cluster knows the master, one that does not answer may be about to lose that place. Milliseconds. */
const movingConnectMs = 2000;

/** The Redis at a URL, or at a place. */
export function redisAt(at: string | RedisPlace, times: Partial<typeof usualTimes> = {}): RedisConnector {
  const place = typeof at === 'string' ? redisPlace(at) : at;
  const all = { ...usualTimes, ...times };
  const { connectMs, probeMs, probeAnswerMs, keepAliveMs, reconnectMs, commandMs, silentMs, silentWhileWaitingMs } =
    all;
  const answerNow = {
    enableOfflineQueue: false,
    maxRetriesPerRequest: 1,
    commandTimeout: commandMs,
    socketTimeout: silentMs,
  };
  const tick = createTicker(probeMs);
  const outages = new Map<Log, Outage>();
  const outageOf = (log: Log) => {
    const outage = outages.get(log) ?? createOutage(log);
    outages.set(log, outage);
    return outage;
  };
  const optionsFor = {
    'answer-now': answerNow,
    probe: answerNow,
    // no commandTimeout: it would also count the time in which a command waits for Redis to come back
    wait: { maxRetriesPerRequest: null, socketTimeout: silentWhileWaitingMs },
  } satisfies Record<RedisUse, object>;
  return {
    where: redisPlaceText(place),
    connect(use, log) {
      let opened: Address | undefined;
      const options = {
        ...optionsFor[use],
        connectTimeout: connectMs,
        keepAlive: keepAliveMs,
        retryStrategy: (attempt) => Math.min(attempt * 50, reconnectMs),
        // 2: and repeat the command there
        reconnectOnError: ({ message }) => (use !== 'probe' && isOfMaster(message, place) ? 2 : false),
      } satisfies RedisOptions;
      const redis = open(place, options, (at) => {
        opened = at;
      });
      if (place.by === 'cluster') followKeys(redis, place, all.ownerMs, () => opened);
      const outage = outageOf(log);
      redis.on('error', (err: Error) => {
        outage.failed(redis, err);
        // ioredis goes on in database 0, which may be another gateway's
        if (isOfSelect(err)) redis.disconnect(true);
      });
      redis.on('ready', () => outage.succeeded(redis));
      redis.once('end', () => outage.ended(redis));
      probe(redis, tick, probeAnswerMs, (err) => outage.failed(redis, err));
      return redis;
    },
  };
}

function open(
  place: RedisPlace,
  options: RedisOptions & { replyMapping?: 'legacy' },
  opened: (at: Address) => void,
): Redis {
  if (place.by === 'address') return new Redis(place.url, options);
  const { username, password, tls } = place;
  return new Redis({
    ...options,
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    ...(tls ? { tls: {} } : {}),
    ...(place.by === 'sentinel' ? { db: place.database } : {}),
    connectTimeout: movingConnectMs,
    Connector: masterConnector(place as MovingPlace, opened),
  });
}

/**
 * Whether the next connection may lead to another server, which takes what this one refused: it was demoted to a replica, or it is a
 * node of a Cluster that another one has taken the slot of our keys from.
 */
const isOfMaster = (message: string, { by }: RedisPlace): boolean =>
  /\bREADONLY\b/.test(message) || (by === 'cluster' && /\b(MOVED|CLUSTERDOWN|MASTERDOWN)\b/.test(message));

/** The answer to the SELECT by which a connection begins whose URL names a database. */
const isOfSelect = (error: Error & { command?: { name?: string } }): boolean => error.command?.name === 'select';

/** Calls all that are added at the same moments: an idle process wakes once for all of its connections, and Redis as well. */
function createTicker(everyMs: number): (call: () => void) => () => void {
  const calls = new Set<() => void>();
  let timer: NodeJS.Timeout | undefined;
  return (call) => {
    calls.add(call);
    timer ??= setInterval(() => {
      for (const each of calls) each();
    }, everyMs).unref();
    return () => {
      calls.delete(call);
      if (calls.size > 0) return;
      clearInterval(timer);
      timer = undefined;
    };
  };
}

/** Replaces the connection when it does not answer. A connection of BullMQ that blocks is not probed: BullMQ replaces it by itself. */
function probe(
  redis: Redis,
  tick: ReturnType<typeof createTicker>,
  answerMs: number,
  onSilent: (error: Error) => void,
): void {
  let asking = false;
  const ask = () =>
    within(answerMs, 'PING', redis.ping()).catch((error: Error) => {
      // an error that Redis answers with is an answer
      if (error.name === 'ReplyError' || redis.status !== 'ready') return;
      onSilent(error);
      redis.disconnect(true);
    });
  const stop = tick(() => {
    if (asking || redis.status !== 'ready') return;
    asking = true;
    void ask().finally(() => {
      asking = false;
    });
  });
  redis.once('end', stop);
}

/** Lets a connection that listens go where our keys have gone; all others are told so by the node (`isOfMaster`). */
function followKeys(redis: Redis, place: MovingPlace, everyMs: number, at: () => Address | undefined): void {
  const look = async () => {
    const node = at();
    // with RESP3 a connection that listens is in no mode of its own
    if (node === undefined || redis.status !== 'ready' || redis.listenerCount('message') === 0) return;
    if (!(await isStillOwner(place, node)) && node === at()) redis.disconnect(true);
  };
  const timer = setInterval(() => void look(), everyMs);
  timer.unref();
  redis.once('end', () => clearInterval(timer));
}

/**
 * Logs an outage once for all connections, although each notices it, and ioredis reports an error at each attempt to reconnect.
 */
function createOutage(log: Log) {
  const outage = createOutageLog(log, {
    away: 'Redis is away; trying again until it is back',
    back: 'Redis is back',
  });
  const failing = new Set<Redis>();
  return {
    failed(redis: Redis, err: Error): void {
      failing.add(redis);
      outage.failed(err, redisCure(err));
    },
    succeeded(redis: Redis): void {
      if (failing.delete(redis) && failing.size === 0) outage.succeeded();
    },
    ended: (redis: Redis) => void failing.delete(redis),
  };
}

type Outage = ReturnType<typeof createOutage>;

/** How long `untilFirstTried` waits at most, in milliseconds: Redis may be reading its data. */
const firstTryMs = 2000;

/**
 * Waits until a new connection is there, or could not be made. Before that a command of `answer-now` fails, although Redis is not away.
 */
export function untilFirstTried(redis: Redis): Promise<void> {
  if (redis.status === 'ready') return Promise.resolve();
  return new Promise((resolve) => {
    // an explainer asks so before each answer: what waited in vain leaves no listener
    const done = () => {
      clearTimeout(timer);
      redis.off('ready', done).off('close', done);
      resolve();
    };
    const timer = setTimeout(done, firstTryMs);
    timer.unref();
    redis.on('ready', done).on('close', done);
  });
}

/**
 * The same connector for a caller that reads once, or seldom, by several parts of this folder, each of which makes a connection of its own.
 * @returns also what waits until all of them are there, or could not be made
 */
export function triedConnector(connector: RedisConnector): { connector: RedisConnector; tried(): Promise<void> } {
  const made: Redis[] = [];
  return {
    connector: {
      ...connector,
      connect(use, log) {
        const redis = connector.connect(use, log);
        made.push(redis);
        return redis;
      },
    },
    async tried() {
      await Promise.all(made.map(untilFirstTried));
    },
  };
}

/** How long QUIT may take, in milliseconds. */
const quitMs = 2000;

/** Ends a connection: with QUIT where Redis is there, else at once. */
export async function disconnectRedis(redis: Redis): Promise<void> {
  if (redis.status === 'ready')
    await within(quitMs, 'QUIT', redis.quit()).catch(() => {
      redis.disconnect();
    });
  else redis.disconnect();
}

/** A difference between the clocks of this machine and of Redis that is worth a warning. Milliseconds. */
const clockToleranceMs = 300_000;

/**
 * What breaks our promises at the Redis server: its settings, or its clock. One sentence each.
 * @see https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/
 */
export async function redisWarnings(redis: Redis, now: () => number = () => Date.now()): Promise<string[]> {
  const [persistence, memory, [seconds]] = await Promise.all([
    redis.info('persistence'),
    redis.info('memory'),
    redis.time(),
  ]);
  const warnings: string[] = [];
  if (Math.abs(Number(seconds) * 1000 - now()) > clockToleranceMs)
    warnings.push(
      `The clock of Redis shows ${new Date(Number(seconds) * 1000).toISOString()}, that of this machine ${new Date(now()).toISOString()}. Set both, best by NTP.`,
    );
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

/** The answers of a pipeline. @throws the error of its first command that failed */
export async function answersOf(executed: Promise<[Error | null, unknown][] | null>): Promise<unknown[]> {
  return ((await executed) ?? []).map(([error, answer]) => {
    if (error) throw error;
    return answer;
  });
}

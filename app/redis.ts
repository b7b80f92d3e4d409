import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { disconnectRedis, type RedisConnector, redisAt, redisWarnings } from '../queue/redis.ts';
import { watchRedis } from '../queue/redis-health.ts';
import { replicasProblem } from '../queue/replicas.ts';
import { findEmbeddedRedis, startEmbeddedRedis } from '../runtime/embedded-redis.ts';
import type { Log } from '../runtime/log.ts';
import { hasPassword, type RedisPlace, redisPlace, withRedisPassword } from '../runtime/redis-place.ts';
import type { Settings } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import type { App } from './app.ts';

/** @throws SettingsError when there is no REDIS_URL: only `cvm up` brings a Redis of its own; or no password in its file */
export function redisOf(settings: Settings): RedisConnector {
  return redisAt(redisPlaceOf(settings));
}

/**
 * For a command: the Redis of the settings, or the one that `cvm up` runs on the same data folder; undefined where there is neither.
 * @throws SettingsError when its password cannot be read
 */
export function redisInUse(settings: Settings): RedisConnector | undefined {
  if (settings.redisUrl !== undefined) return redisOf(settings);
  const embedded = findEmbeddedRedis(settings.dataDir);
  return embedded === undefined ? undefined : { ...redisAt(embedded), whenAway: whenEmbeddedIsAway };
}

const whenEmbeddedIsAway =
  'cvm up started it, and starts it again by itself. Where it stays away, free space if the disk is full, and look at the log';

function redisPlaceOf({ redisUrl, redisPasswordFile, redisSentinelPasswordFile }: Settings): RedisPlace {
  if (redisUrl === undefined)
    throw new SettingsError([
      'REDIS_URL: is needed here, as in redis://redis:6379/0 (only "cvm up" brings its own Redis)',
    ]);
  const place = redisPlace(redisUrl);
  const files = [
    ['CVM_REDIS_PASSWORD_FILE', hasPassword(place) ? undefined : redisPasswordFile],
    ['CVM_REDIS_SENTINEL_PASSWORD_FILE', place.by === 'sentinel' ? redisSentinelPasswordFile : undefined],
  ] as const;
  const problems: string[] = [];
  const [password, sentinelPassword] = files.map(([name, file]) => {
    const read = file === undefined ? {} : readPassword(name, file);
    if (read.problem !== undefined) problems.push(read.problem);
    return read.password;
  });
  if (problems.length > 0) throw new SettingsError(problems);
  const complete = password === undefined ? place : withRedisPassword(place, password);
  return complete.by === 'sentinel' && sentinelPassword !== undefined ? { ...complete, sentinelPassword } : complete;
}

function readPassword(name: string, file: string): { password?: string; problem?: string } {
  try {
    const password = readFileSync(file, 'utf8').trim();
    return password === '' ? { problem: `${name}: ${file} is empty` } : { password };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    return { problem: `${name}: ${file} cannot be read (${code ?? message})` };
  }
}

/** A Redis of our own, as a child process with its data below the data folder. @returns it, that folder, and its URL with its password */
export async function embedRedis({
  settings,
  log,
  lifecycle,
}: App): Promise<{ redis: RedisConnector; folder: string; url: string }> {
  const { dataDir } = settings;
  const server = lifecycle.add(await startEmbeddedRedis({ dataDir, log, onLost: lifecycle.fail }));
  return {
    redis: { ...redisAt(server.url), whenAway: whenEmbeddedIsAway },
    folder: join(dataDir, 'redis'),
    url: server.url,
  };
}

/** Warns, as soon as Redis answers, of every setting of the server that breaks a promise. */
export function warnOfRedis(connector: RedisConnector, log: Log): void {
  const redis = connector.connect('wait', log.child({}, { level: 'silent' }));
  redisWarnings(redis)
    .then((warnings) => {
      for (const warning of warnings) log.warn(warning);
    })
    .catch((err: unknown) => log.debug({ err }, 'could not read the settings of Redis'))
    .finally(() => disconnectRedis(redis));
}

/**
 * Says at once, with the cure, where Redis is there and takes no writes. A start that waits for it says nothing else, and a worker does not
 * end for it.
 */
export function sayRefusal(connector: RedisConnector, log: Log): void {
  const watch = watchRedis(connector, log);
  watch
    .refusal()
    .then((refusal) => {
      if (refusal !== undefined) log.error({ problem: refusal.problem }, refusal.cure);
    })
    .catch((err: unknown) => log.debug({ err }, 'it is not known whether Redis takes writes'))
    .finally(() => watch.close());
}

/** Waits for Redis. @throws SettingsError where it cannot promise what CVM_REDIS_REPLICAS_ON asks for */
export async function requireReplicas(connector: RedisConnector, { redisReplicas }: Settings, log: Log): Promise<void> {
  if (redisReplicas?.on !== 'disk') return;
  const redis = connector.connect('wait', log);
  try {
    const problem = await replicasProblem(redis, redisReplicas);
    if (problem !== undefined) throw new SettingsError([`CVM_REDIS_REPLICAS_ON: ${problem}`]);
  } finally {
    await disconnectRedis(redis);
  }
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { disconnectRedis, type RedisConnector, redisAt, redisWarnings } from '../queue/redis.ts';
import { startEmbeddedRedis } from '../runtime/embedded-redis.ts';
import type { Log } from '../runtime/log.ts';
import { type Settings, SettingsError } from '../runtime/settings.ts';
import type { App } from './app.ts';

/** @throws SettingsError when there is no REDIS_URL: only `cvm up` brings a Redis of its own; or no password in its file */
export function redisOf({ redisUrl, redisPasswordFile }: Settings): RedisConnector {
  if (redisUrl !== undefined) return redisAt(withPassword(redisUrl, redisPasswordFile));
  throw new SettingsError([
    'REDIS_URL: is needed here, as in redis://redis:6379/0 (only "cvm up" brings its own Redis)',
  ]);
}

/** A password in the URL comes first. */
function withPassword(redisUrl: string, file: string | undefined): string {
  const url = new URL(redisUrl);
  if (file === undefined || url.password !== '') return redisUrl;
  url.password = encodeURIComponent(readPassword(file));
  return url.href;
}

function readPassword(file: string): string {
  let password = '';
  try {
    password = readFileSync(file, 'utf8').trim();
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw new SettingsError([`CVM_REDIS_PASSWORD_FILE: ${file} cannot be read (${code ?? message})`]);
  }
  if (password === '') throw new SettingsError([`CVM_REDIS_PASSWORD_FILE: ${file} is empty`]);
  return password;
}

/** A Redis of our own, as a child process with its data below the data folder. @returns it, and that folder */
export async function embedRedis({
  settings,
  log,
  lifecycle,
}: App): Promise<{ redis: RedisConnector; folder: string }> {
  const { dataDir } = settings;
  const server = lifecycle.add(await startEmbeddedRedis({ dataDir, log, onLost: lifecycle.fail }));
  const whenAway = 'cvm up started it, and starts it again by itself; see the log where it stays away';
  return { redis: { ...redisAt(server.url), whenAway }, folder: join(dataDir, 'redis') };
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

import type { Redis } from 'ioredis';
import { errorText } from '../runtime/errors.ts';
import { rosterKeys } from './stored-keys.ts';

/** What a Redis server says of itself, for people. Sizes in bytes. A setting that may not be read is absent. */
export type RedisFacts = {
  /** `redis 7.0.15`, `valkey 8.0.1` */
  readonly server: string;
  /** of the Redis that it is compatible with */
  readonly version: string;
  readonly usedBytes: number;
  readonly maxBytes: number | undefined;
  readonly maxmemoryPolicy: string;
  readonly appendOnly: boolean;
  readonly appendFsync: string | undefined;
  /** why its last write to disk failed */
  readonly diskProblem: string | undefined;
  readonly isMaster: boolean;
  /** whether it wants a password of the default user */
  readonly hasPassword: boolean | undefined;
  /** epoch milliseconds */
  readonly time: number;
  /** devices of the roster */
  readonly devices: number;
};

/** @throws as Redis says it */
export async function readRedisFacts(redis: Redis): Promise<RedisFacts> {
  const [info, [seconds], devices, appendFsync, hasPassword] = await Promise.all([
    redis.info(),
    redis.time(),
    // a key of another type is no roster
    redis.hlen(rosterKeys.entries).catch(() => 0),
    setting(redis, 'appendfsync'),
    asksForPassword(redis),
  ]);
  const valueOfLine = (name: string) => new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1];
  const version = valueOfLine('redis_version') ?? '';
  const valkey = valueOfLine('valkey_version');
  return {
    server: valkey === undefined ? `redis ${version}` : `valkey ${valkey}`,
    version,
    usedBytes: Number(valueOfLine('used_memory') ?? 0),
    maxBytes: Number(valueOfLine('maxmemory') ?? 0) || undefined,
    maxmemoryPolicy: valueOfLine('maxmemory_policy') ?? '',
    appendOnly: valueOfLine('aof_enabled') === '1',
    appendFsync,
    diskProblem: diskProblemOf(valueOfLine),
    isMaster: valueOfLine('role') === 'master',
    hasPassword,
    time: Number(seconds) * 1000,
    devices,
  };
}

function diskProblemOf(valueOfLine: (name: string) => string | undefined): string | undefined {
  const failed = (
    [
      ['aof_last_write_status', 'the append-only file could not be written'],
      ['aof_last_bgrewrite_status', 'the append-only file could not be rewritten'],
      ['rdb_last_bgsave_status', 'the last snapshot failed'],
    ] as const
  ).filter(([name]) => valueOfLine(name) === 'err');
  return failed.length === 0 ? undefined : failed.map(([, text]) => text).join(', ');
}

/** A managed service has no CONFIG; undefined there. */
async function setting(redis: Redis, name: string): Promise<string | undefined> {
  try {
    const [, value] = (await redis.config('GET', name)) as string[];
    return value;
  } catch {
    return undefined;
  }
}

/** Whether the default user needs a password; undefined where that may not be read. Only the flag is looked at. */
async function asksForPassword(redis: Redis): Promise<boolean | undefined> {
  try {
    const text = JSON.stringify(await redis.call('ACL', 'GETUSER', 'default'));
    return !text.includes('"nopass"') || text.includes('"off"');
  } catch {
    return undefined;
  }
}

/** Sets `appendonly yes` in the running server. @returns why that cannot be done */
export async function switchOnAppendOnly(redis: Redis): Promise<string | undefined> {
  try {
    await redis.config('SET', 'appendonly', 'yes');
    // where it was started with a file, the next start has it as well
    await redis.config('REWRITE').catch(() => {});
    return undefined;
  } catch (error) {
    // a managed service has no CONFIG, and an ACL may forbid it
    const { message } = error as Error;
    if (/unknown command|NOPERM/i.test(message))
      return 'this Redis does not let it be set from here: set appendonly yes where the server, or the managed service, is configured';
    return errorText(error);
  }
}

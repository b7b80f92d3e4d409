import type { Redis } from 'ioredis';
import { errorText } from '../runtime/errors.ts';

/** How many replicas must have a request before its PUBACK: in memory (WAIT), or on their append-only files (WAITAOF). */
export type ReplicasToHave = {
  readonly count: number;
  readonly on: 'memory' | 'disk';
  /** longest wait for them, in milliseconds */
  readonly waitMs: number;
};

/** Too few replicas have it. The request is stored at the master, and gets no PUBACK. */
export class TooFewReplicas extends Error {
  override readonly name = 'TooFewReplicas';
}

/**
 * Makes a write that resolves when enough replicas have it. Redis answers before it replicates, so without this a failover may lose
 * what was answered.
 * @returns for writes on this one connection; without `replicas` they are what they were
 */
export function createReplicatedWrites(redis: Redis, replicas: ReplicasToHave | undefined) {
  let connection = 0;
  redis.on('close', () => {
    connection++;
  });
  if (replicas === undefined) return <T>(write: () => Promise<T>) => write();
  const wait = grouped(() => waitFor(redis, replicas));
  return async <T>(write: () => Promise<T>): Promise<T> => {
    const before = connection;
    const written = await write();
    await wait();
    // a server waits for the writes of the connection that asks: another connection, perhaps to a new master, has none yet
    if (connection !== before)
      throw new TooFewReplicas('the connection to Redis was lost while a request was replicated');
    return written;
  };
}

async function waitFor(redis: Redis, { count, on, waitMs }: ReplicasToHave): Promise<void> {
  const have =
    on === 'memory'
      ? await redis.wait(count, waitMs)
      : ((await redis.call('WAITAOF', 1, count, waitMs)) as [number, number])[1];
  if (have < count) throw new TooFewReplicas(`${have} of ${count} replicas had a request within ${waitMs} ms`);
}

/**
 * Redis does nothing else for a connection that waits, so all that was written meanwhile shares the next wait. One that began before a
 * write does not count for it.
 */
function grouped(work: () => Promise<void>): () => Promise<void> {
  let [running, next]: (Promise<void> | undefined)[] = [];
  return () => {
    next ??= (running ?? Promise.resolve())
      .catch(() => {})
      .then(() => {
        running = work();
        next = undefined;
        return running;
      });
    return next;
  };
}

/** Why this server cannot promise that replicas have a request, with the cure; undefined when it can. */
export async function replicasProblem(redis: Redis, { on }: ReplicasToHave): Promise<string | undefined> {
  if (on === 'memory') return undefined;
  try {
    await redis.call('WAITAOF', 1, 0, 1);
    return undefined;
  } catch (error) {
    const said = errorText(error);
    if (/unknown command/i.test(said))
      return 'this server has no WAITAOF: use Redis 7.2, Valkey 7.2 or newer, or "memory"';
    if (/appendonly/.test(said))
      return 'this server has no append-only file: set appendonly yes there, or use "memory"';
    throw error;
  }
}

/** @returns too few replicas now, for a health check */
export async function missingReplicas(redis: Redis, { count }: ReplicasToHave): Promise<string | undefined> {
  const online = (await redis.info('replication')).split('state=online').length - 1;
  return online >= count
    ? undefined
    : `Redis has ${online} of the ${count} replicas that CVM_REDIS_REPLICAS asks for, so no request gets a PUBACK: start them, or lower that number`;
}

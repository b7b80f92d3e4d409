import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { SigningKey } from '../sealing/signing.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { announcementLifetimeMs } from './roster.ts';
import { readTableKey } from './stored-forms.ts';
import { tableKeyKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** The worker's side: leaves the table's public key for gateways that have pinned none yet. */
export async function publishTableKey(redis: Redis, { publicKey }: SigningKey): Promise<void> {
  await redis.set(tableKeyKey, publicKey, 'PX', announcementLifetimeMs);
}

/** Milliseconds: how often at most the log says that workers of two tables serve one Redis, and how long a health check is told of it. */
const [quietMs, holdMs] = [60_000, 30_000];

/**
 * Publishes the table's key again and again, and says so when workers of two tables do: a key that took the place of ours is of a
 * worker that lives, while the first that we find may be of an earlier table.
 */
export function createTableKeyPublisher(redis: Redis, log: Log) {
  let published = false;
  let [quietUntil, foundAt] = [Number.NEGATIVE_INFINITY, Number.NEGATIVE_INFINITY];
  return {
    async publish(key: SigningKey): Promise<void> {
      const found = await redis.get(tableKeyKey).catch(() => null);
      await publishTableKey(redis, key);
      const time = performance.now();
      if (published && found !== null && found !== key.publicKey) {
        foundAt = time;
        if (time >= quietUntil) {
          quietUntil = time + quietMs;
          log.error({ ours: key.publicKey, found, cure: oneTable }, twoTables);
        }
      }
      published = true;
    },
    /** For a health check: each worker takes requests whose answers the other one's gateways throw away. */
    trouble: (): string | undefined => (performance.now() - foundAt < holdMs ? `${twoTables}: ${oneTable}` : undefined),
  };
}

export type TableKeyPublisher = ReturnType<typeof createTableKeyPublisher>;

const twoTables = 'workers of two tables serve this Redis';
const oneTable =
  'stop the workers of one of them. In compose, they are those of the other profile (worker, worker-local): run docker compose down with both profiles, and start one';

/** The broker's side: the table's public key as Redis has it, which may be anybody's. */
export function createTableKeyReader(connector: RedisConnector, log: Log) {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  async function read(): Promise<string | undefined> {
    const text = await withoutWrongType(redis, [tableKeyKey], reportMalformed, () => redis.get(tableKeyKey));
    if (text === null) return undefined;
    const key = readTableKey(text);
    if (key === undefined) reportMalformed("the table's key");
    return key;
  }
  return {
    read,
    /** For one that reads once: the connection is made first. */
    async readWhenTried(): Promise<string | undefined> {
      await untilFirstTried(redis);
      return read();
    },
    close: () => disconnectRedis(redis),
  };
}

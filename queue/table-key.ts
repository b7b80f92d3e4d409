import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { SigningKey } from '../sealing/signing.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { announcementLifetimeMs } from './roster.ts';
import { readTableKey, tableKeyKey } from './stored-forms.ts';
import { withoutWrongType } from './wrong-type.ts';

/** The worker's side: leaves the table's public key for gateways that have pinned none yet. */
export async function publishTableKey(redis: Redis, { publicKey }: SigningKey): Promise<void> {
  await redis.set(tableKeyKey, publicKey, 'PX', announcementLifetimeMs);
}

/** The broker's side: the table's public key as Redis has it, which may be anybody's. */
export function createTableKeyReader(connector: RedisConnector, log: Log) {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async read(): Promise<string | undefined> {
      const text = await withoutWrongType(redis, [tableKeyKey], reportMalformed, () => redis.get(tableKeyKey));
      if (text === null) return undefined;
      const key = readTableKey(text);
      if (key === undefined) reportMalformed("the table's key");
      return key;
    },
    close: () => disconnectRedis(redis),
  };
}

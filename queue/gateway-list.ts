import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { SigningKey } from '../sealing/signing.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { announcementLifetimeMs, type GatewayList } from './roster.ts';
import { readGatewayList, toStoredGatewayList } from './stored-forms.ts';
import { gatewayListKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** The worker's side: leaves there which gateways the table knows, signed for the table. */
export async function publishGatewayList(redis: Redis, list: GatewayList, table: SigningKey): Promise<void> {
  await redis.set(gatewayListKey, toStoredGatewayList(list, table), 'PX', announcementLifetimeMs);
}

/** The broker's side, for a gateway that is new. */
export function createGatewayListReader(connector: RedisConnector, log: Log) {
  const redis = connector.connect('wait', log);
  const reportMalformed = createMalformedReport(log);
  return {
    /** Drops what was said before now: the table may have approved a gateway since. */
    forget: async (): Promise<void> => void (await redis.del(gatewayListKey)),
    /** Undefined when no worker has said it since, or another table did. */
    async read(tableKey: string): Promise<GatewayList | undefined> {
      const text = await withoutWrongType(redis, [gatewayListKey], reportMalformed, () => redis.get(gatewayListKey));
      if (text === null) return undefined;
      const list = readGatewayList(text, tableKey);
      if (list === undefined) reportMalformed('a list of gateways that the table did not sign');
      return list;
    },
    close: () => disconnectRedis(redis),
  };
}

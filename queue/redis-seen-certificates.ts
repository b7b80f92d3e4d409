import type { Log } from '../runtime/log.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import type { SeenCertificates } from './seen-certificates.ts';
import { seenCertificatesKey } from './stored-forms.ts';

export function createSeenCertificates(connector: RedisConnector, log: Log): SeenCertificates {
  const redis = connector.connect('wait', log);
  return {
    // only compared with another id, so its form does not matter
    last: async (serial) => (await redis.hget(seenCertificatesKey, serial)) ?? undefined,
    async note(serial, certificateId) {
      await redis.hset(seenCertificatesKey, serial, certificateId);
    },
    close: () => disconnectRedis(redis),
  };
}

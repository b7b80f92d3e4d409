import type { Log } from '../runtime/log.ts';
import type { SigningKey } from '../sealing/signing.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import type { SeenCertificates } from './seen-certificates.ts';
import { readSeenCertificate, toStoredSeenCertificate } from './stored-forms.ts';
import { seenCertificatesKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** @param tableKey signs for the table; throws while the table is away */
export function createSeenCertificates(
  connector: RedisConnector,
  log: Log,
  tableKey: () => Promise<SigningKey>,
): SeenCertificates {
  const redis = connector.connect('wait', log);
  const reportMalformed = createMalformedReport(log);
  const owning = <T>(work: () => Promise<T>) => withoutWrongType(redis, [seenCertificatesKey], reportMalformed, work);
  return {
    async last(serial) {
      const text = await owning(() => redis.hget(seenCertificatesKey, serial));
      if (text === null) return undefined;
      const certificateId = readSeenCertificate(serial, text, (await tableKey()).publicKey);
      if (certificateId === undefined) reportMalformed('an activated certificate');
      return certificateId;
    },
    async note(serial, certificateId) {
      const text = toStoredSeenCertificate(serial, certificateId, await tableKey());
      await owning(() => redis.hset(seenCertificatesKey, serial, text));
    },
    close: () => disconnectRedis(redis),
  };
}

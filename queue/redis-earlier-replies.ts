import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import type { EarlierReplies } from './replies.ts';
import { earlierReplyKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

/** Ten times the length of a reply with an RSA key. Who writes Redis may have put anything there. */
const maxCharacters = 65_536;

/** They go by themselves at the end of their replay windows. */
export function createEarlierReplies(connector: RedisConnector, log: Log): EarlierReplies {
  const redis = connector.connect('wait', log);
  const reportMalformed = createMalformedReport(log);
  return {
    async kept(recipientId, certificateId) {
      const key = earlierReplyKey(recipientId, certificateId);
      const text = await withoutWrongType(redis, [key], reportMalformed, () => redis.getrange(key, 0, maxCharacters));
      return text === '' || text.length > maxCharacters ? undefined : text;
    },
    close: () => disconnectRedis(redis),
  };
}

import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import type { ReplyFeed, ReplyStore, SealedReply } from './replies.ts';
import { readStoredReply, repliesChannel, replyKey, toStoredReply } from './stored-forms.ts';

/** How long a reply is stored for a broker that missed its announcement, in milliseconds. */
const storedMs = 10 * 60_000;

/** The worker's side of the replies, in Redis. All of it is sealed (`sealing/replies.ts`). */
export function createReplyStore(connector: RedisConnector, log: Log): ReplyStore {
  const redis = connector.connect('wait', log);
  return {
    async deliver(reply) {
      const text = toStoredReply(reply);
      // stored first: a broker that misses the announcement must find the reply
      await redis.set(replyKey(reply.requestId), text, 'PX', storedMs);
      await redis.publish(repliesChannel, text);
    },
    close: () => disconnectRedis(redis),
  };
}

/** The broker's side of the replies, in Redis. */
export function createReplyFeed(connector: RedisConnector, log: Log): ReplyFeed {
  const subscriber = connector.connect('wait', log);
  const reader = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  function read(text: string): SealedReply[] {
    const reply = readStoredReply(text);
    if (reply === undefined) reportMalformed('a reply');
    return reply === undefined ? [] : [reply];
  }
  return {
    async listen(listener, onResume) {
      subscriber.on('message', (_channel, text) => read(text).forEach(listener));
      // ioredis subscribes again by itself after a lost connection; announcements made meanwhile are lost
      subscriber.on('ready', onResume);
      await subscriber.subscribe(repliesChannel);
    },
    async fetch(requestIds) {
      if (requestIds.length === 0) return [];
      const texts = await reader.mget(requestIds.map(replyKey));
      return texts.filter((text) => text !== null).flatMap(read);
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(reader)]);
    },
  };
}

import type { Log } from '../runtime/log.ts';
import { connectRedis, disconnectRedis, keyPrefix } from './redis.ts';
import type { ReplyFeed, ReplyStore, SealedReply } from './replies.ts';

const channel = `${keyPrefix}:replies`;
const answerKey = (requestId: string) => `${keyPrefix}:answer:${requestId}`;
const keptKey = (recipientId: string, certificateId: string) => `${keyPrefix}:kept:${recipientId}:${certificateId}`;

/** How long the answer to one question waits for a broker that missed its announcement, in milliseconds. */
const answerMs = 10 * 60_000;

/** The worker's side of the replies, in Redis. Everything stored or sent is sealed (`sealing.ts`). */
export function createReplyStore(redisUrl: string, log: Log): ReplyStore {
  const redis = connectRedis(redisUrl, 'wait', log);
  return {
    async deliver(reply) {
      const text = JSON.stringify(reply);
      // stored first: an announcement that nobody hears must leave the answer behind
      await redis.set(answerKey(reply.requestId), text, 'PX', answerMs);
      await redis.publish(channel, text);
    },
    async keep(recipientId, certificateId, sealed, windowMs) {
      await redis.set(keptKey(recipientId, certificateId), sealed, 'PX', Math.max(1, Math.round(windowMs)));
    },
    async kept(recipientId, certificateId) {
      return (await redis.get(keptKey(recipientId, certificateId))) ?? undefined;
    },
    async erase(recipientId, certificateId) {
      await redis.del(keptKey(recipientId, certificateId));
    },
    close: () => disconnectRedis(redis),
  };
}

/** The broker's side of the replies, in Redis. */
export function createReplyFeed(redisUrl: string, log: Log): ReplyFeed {
  const subscriber = connectRedis(redisUrl, 'wait', log);
  const reader = connectRedis(redisUrl, 'answer-now', log);
  return {
    async listen(listener, onResume) {
      subscriber.on('message', (_channel, text) => listener(JSON.parse(text) as SealedReply));
      // ioredis subscribes again by itself after a lost connection; what was said meanwhile it cannot know
      subscriber.on('ready', onResume);
      await subscriber.subscribe(channel);
    },
    async fetch(requestIds) {
      if (requestIds.length === 0) return [];
      const texts = await reader.mget(requestIds.map(answerKey));
      return texts.filter((text) => text !== null).map((text) => JSON.parse(text) as SealedReply);
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(reader)]);
    },
  };
}

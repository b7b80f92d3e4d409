import type { Redis } from 'ioredis';
import type { Log } from '../runtime/log.ts';
import type { SigningKey } from '../sealing/signing.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import type { BoundReply, BoundReplyStore, ReplyFeed, ReplyIds, TableTrust } from './replies.ts';
import { readStoredReply, toStoredReply } from './stored-forms.ts';
import { repliesChannel, replyKey } from './stored-keys.ts';
import { publishTableKey } from './table-key.ts';

/** How long a reply is stored for a broker that missed its announcement, in milliseconds. */
const storedMs = 10 * 60_000;

/**
 * Stored first: a broker that misses the announcement must find the reply. Both in one round trip, and no worker can die between them.
 * KEYS: where the reply is stored. ARGV: the reply, ms that it is kept, the channel.
 */
const deliverScript = `
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
redis.call('PUBLISH', ARGV[3], ARGV[1])
`;

type Scripts = { deliverReply(...args: (string | number)[]): Promise<null> };

function withScripts(redis: Redis): Redis & Scripts {
  redis.defineCommand('deliverReply', { numberOfKeys: 1, lua: deliverScript });
  return redis as Redis & Scripts;
}

/**
 * The worker's side of the replies, in Redis. All of it is sealed (`sealing/replies.ts`).
 * @param tableKey signs for the table; throws while the table is away
 */
export function createReplyStore(
  connector: RedisConnector,
  log: Log,
  tableKey: () => Promise<SigningKey>,
): BoundReplyStore {
  const redis = withScripts(connector.connect('wait', log));
  let published = false;
  /** The key is published before the first reply that it signs: a gateway that is new pins it, and can verify. */
  async function publishedKey(): Promise<SigningKey> {
    const key = await tableKey();
    if (!published) await publishTableKey(redis, key);
    published = true;
    return key;
  }
  return {
    async deliver(reply) {
      const text = toStoredReply(reply, await publishedKey());
      await redis.deliverReply(replyKey(reply.requestId), text, storedMs, repliesChannel);
    },
    close: () => disconnectRedis(redis),
  };
}

/**
 * The broker's side of the replies, in Redis.
 * @param table whose signature a reply must have
 * @param gatewayId replies that are for another gateway only are left out
 */
export function createReplyFeed(connector: RedisConnector, log: Log, table: TableTrust, gatewayId: string): ReplyFeed {
  const subscriber = connector.connect('wait', log);
  const reader = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  async function read(text: string, isWanted: (ids: ReplyIds) => boolean = () => true): Promise<BoundReply[]> {
    const reply = readStoredReply(text);
    if (reply === undefined) {
      reportMalformed('a reply');
      return [];
    }
    if (!isWanted(reply)) return [];
    const key = table.key() ?? (await table.meet());
    // without a key it stays where it is, and is looked for again
    if (key === undefined) return [];
    if (!reply.isSignedBy(key)) {
      table.reportUnsigned('a reply');
      return [];
    }
    return [undefined, gatewayId].includes(reply.onlyGateway) ? [reply] : [];
  }
  return {
    async listen(listener, onResume, isWanted) {
      subscriber.on('message', (_channel, text) => {
        read(text, isWanted)
          .then((replies) => replies.forEach(listener))
          .catch((err: unknown) => log.warn({ err }, 'a reply could not be passed on; it is looked for again'));
      });
      // ioredis subscribes again by itself after a lost connection; announcements made meanwhile are lost
      subscriber.on('ready', onResume);
      await subscriber.subscribe(repliesChannel);
    },
    async fetch(requestIds) {
      if (requestIds.length === 0) return [];
      const texts = await reader.mget(requestIds.map(replyKey));
      return (await Promise.all(texts.filter((text) => text !== null).map((text) => read(text)))).flat();
    },
    async close() {
      await Promise.all([disconnectRedis(subscriber), disconnectRedis(reader)]);
    },
  };
}

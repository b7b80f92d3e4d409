import { errorText } from '../runtime/errors.ts';
import type { Log } from '../runtime/log.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { redisCure } from './redis-cure.ts';
import { missingReplicas, type ReplicasToHave } from './replicas.ts';
import { ownKey } from './stored-keys.ts';

/** No part makes this key. */
const absentKey = ownKey('no-such-key');

/**
 * Tells whether requests can be stored. It tries a write, a script and a message: the user of REDIS_URL may be allowed one of them and not
 * another. A user of Redis 7 gets channels only by a rule with `&`. `SET … XX` on a key that does not exist changes nothing, on disk neither.
 * Redis refuses it when it refuses all writes: on a replica, with full memory or a full disk, without permission. No part listens to the channel.
 * @param replicas that each request must have; none for a part that stores no requests
 */
export function watchRedis(connector: RedisConnector, log: Log, replicas?: ReplicasToHave) {
  const redis = connector.connect('probe', log.child({}, { level: 'silent' }));
  let lastError: Error | undefined;
  redis.on('error', (error: Error) => {
    // which says no cause, and follows the error that says it
    if (!notConnected.test(error.message)) lastError = error;
  });
  redis.on('ready', () => {
    lastError = undefined;
  });
  async function trouble(): Promise<RedisTrouble | undefined> {
    try {
      // in one packet; the first refusal is the one that is told
      const answers = await redis.pipeline().set(absentKey, '', 'XX').eval('return 0', 0).publish(absentKey, '').exec();
      for (const [error] of answers ?? []) if (error !== null) throw error;
      const missing = replicas && (await missingReplicas(redis, replicas));
      return missing === undefined ? undefined : { text: missing, ...halves(missing) };
    } catch (error) {
      // the address may lead to another server by now
      if (isRefusal(error)) redis.disconnect(true);
      return describe(isRefusal(error) ? error : (lastError ?? error), connector);
    }
  }
  return {
    /** Why requests cannot be stored, and the cure; undefined when they can. */
    trouble: async (): Promise<string | undefined> => (await trouble())?.text,
    /** The same, with cause and cure apart. */
    look: trouble,
    /** The same, once there is a connection, and only where Redis is there and refuses. */
    async refusal(): Promise<RedisTrouble | undefined> {
      await untilFirstTried(redis);
      const found = await trouble();
      return found?.isRefusal ? found : undefined;
    },
    name: 'redis health',
    close: () => disconnectRedis(redis),
  };
}

const isRefusal = (error: unknown) => error instanceof Error && redisCure(error) !== undefined;

/** In one sentence, and in its halves. `isRefusal`: it is there, and takes nothing. */
export type RedisTrouble = {
  readonly text: string;
  readonly problem: string;
  readonly cure: string;
  readonly isRefusal?: true;
};

/** Of an error of any command: what Redis refuses, or that it does not answer although it is there. */
export function troubleOf(error: unknown, { where }: RedisConnector): RedisTrouble {
  if (isRefusal(error)) return describe(error, { where });
  const [problem, cure] = [
    `Redis at ${where} does not answer (${errorText(error)})`,
    'see its log, and the network between; restart it where it stays so',
  ];
  return { text: `${problem}: ${cure}`, problem, cure };
}

function describe(
  error: unknown,
  { where, whenAway = 'start it, or correct REDIS_URL' }: Pick<RedisConnector, 'where' | 'whenAway'>,
): RedisTrouble {
  const cure = error instanceof Error ? redisCure(error) : undefined;
  if (cure !== undefined) {
    // a library's own words for what is no Redis ask to be reported
    const said = errorText(error).replace(/ Please report this\.?/, '');
    return {
      text: `${cure} (${where}: ${said})`,
      problem: `Redis at ${where} refuses (${said})`,
      cure,
      isRefusal: true,
    };
  }
  const reason = errorText(error).replace(notConnected, 'there is no connection');
  const problem = `Redis at ${where} cannot be reached (${reason})`;
  return { text: `${problem}: ${whenAway}`, problem, cure: whenAway };
}

function halves(text: string): Pick<RedisTrouble, 'problem' | 'cure'> {
  const at = text.indexOf(': ');
  return at < 0 ? { problem: text, cure: text } : { problem: text.slice(0, at), cure: text.slice(at + 2) };
}

/** How ioredis says that a command came between two connections. */
const notConnected = /Stream isn't writeable and enableOfflineQueue options is false/;

import { errorText } from '../runtime/errors.ts';
import type { Log } from '../runtime/log.ts';
import { disconnectRedis, type RedisConnector, redisCure, untilFirstTried } from './redis.ts';
import { missingReplicas, type ReplicasToHave } from './replicas.ts';
import { ownKey } from './stored-keys.ts';

/** No part makes this key. */
const absentKey = ownKey('no-such-key');

/**
 * Tells whether requests can be stored: a write is tried. `SET … XX` on a key that does not exist is refused as every write is (replica,
 * memory full, disk full, no permission), and otherwise changes nothing, on disk neither.
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
      await redis.set(absentKey, '', 'XX');
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

function describe(
  error: unknown,
  { where, whenAway = 'start it, or correct REDIS_URL' }: RedisConnector,
): RedisTrouble {
  const cure = error instanceof Error ? redisCure(error) : undefined;
  if (cure !== undefined) {
    const said = errorText(error);
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

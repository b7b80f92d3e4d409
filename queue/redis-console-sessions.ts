import { createHash } from 'node:crypto';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Log } from '../runtime/log.ts';
import type { SessionStore, SignInLimiter } from './console-sessions.ts';
import { createMalformedReport } from './malformed.ts';
import { disconnectRedis, type RedisConnector, untilFirstTried } from './redis.ts';
import { consoleAttemptsKey, consoleKnownAddressKey, consoleSeenKey, consoleSessionKey } from './stored-keys.ts';
import { withoutWrongType } from './wrong-type.ts';

export type SignInLimits = {
  /** attempts of one address, in `seconds` */
  readonly ofAddress: number;
  /** attempts of all addresses together */
  readonly ofAll: number;
  readonly seconds: number;
};

/** A password has 80 random bits, so these are for the CPU that its hash costs, and for the trail; a lock-out would be a gift. */
export const usualSignInLimits: SignInLimits = { ofAddress: 10, ofAll: 60, seconds: 60 };

/** How long an address is known from which somebody signed in: a month. */
const knownSeconds = 30 * 86_400;

/** How long a person that a reverse proxy signs in is taken for the same sign-in: half a day. */
const seenSeconds = 43_200;

/** Sessions of the console, and attempts to open one, in Redis. */
export function createSessionStore(
  connector: RedisConnector,
  log: Log,
  { ofAddress, ofAll, seconds }: SignInLimits = usualSignInLimits,
): SessionStore & SignInLimiter {
  const redis = connector.connect('answer-now', log);
  const reportMalformed = createMalformedReport(log);
  const limiter = (name: string, points: number) =>
    new RateLimiterRedis({
      storeClient: redis,
      keyPrefix: `${consoleAttemptsKey}:${name}`,
      points,
      duration: seconds,
      rejectIfRedisNotReady: true,
    });
  const [address, all, known] = [limiter('address', ofAddress), limiter('all', ofAll), limiter('known', ofAll)];
  // attempts from an address from which a person signed in are counted apart, so a flood of strangers does not lock that person out
  const limitOf = async (from: string) => ((await redis.exists(consoleKnownAddressKey(from))) === 1 ? known : all);
  return {
    ready: () => untilFirstTried(redis),
    async read(hashedId) {
      const key = consoleSessionKey(hashedId);
      return (await withoutWrongType(redis, [key], reportMalformed, () => redis.get(key))) ?? undefined;
    },
    async write(hashedId, text, idleMs) {
      await redis.set(consoleSessionKey(hashedId), text, 'PX', idleMs);
    },
    async touch(hashedId, idleMs) {
      await redis.pexpire(consoleSessionKey(hashedId), idleMs);
    },
    async end(hashedId) {
      await redis.del(consoleSessionKey(hashedId));
    },
    async attempt(from) {
      for (const limit of [address, await limitOf(from)]) {
        const wait = await limit.consume(limit === address ? from : 'all').then(
          () => undefined,
          (refused: unknown) => {
            if (refused instanceof RateLimiterRes) return Math.max(1, Math.ceil(refused.msBeforeNext / 1000));
            throw refused;
          },
        );
        if (wait !== undefined) return wait;
      }
      return undefined;
    },
    async succeeded(from) {
      // the right one counts no more; wrong ones before it do, or a viewer could guess the password of operators between two of its own
      await address.reward(from, 1);
      await redis.set(consoleKnownAddressKey(from), '1', 'EX', knownSeconds);
    },
    async isFirst(personAndAddress) {
      const key = consoleSeenKey(createHash('sha256').update(personAndAddress).digest('base64url'));
      return (await redis.set(key, '1', 'EX', seenSeconds, 'NX')) === 'OK';
    },
    close: () => disconnectRedis(redis),
  };
}

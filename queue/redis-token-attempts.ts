import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Log } from '../runtime/log.ts';
import { createMalformedReport } from './malformed.ts';
import { recipientIdOf } from './provisioning-request.ts';
import { disconnectRedis, type RedisConnector } from './redis.ts';
import { createPauses } from './redis-pauses.ts';
import { createWrongTokenCounts } from './redis-wrong-tokens.ts';
import { attemptedTokenKey, tokenAttemptsKey } from './stored-keys.ts';
import {
  defaultTokenAttemptLimits,
  type TokenAttemptLimiter,
  type TokenAttemptLimits,
  type TokenAttemptVerdict,
} from './token-attempts.ts';
import { createTurns } from './turns.ts';
import { withoutWrongType } from './wrong-type.ts';

/**
 * The library's own script counts in fixed windows, so twice the points fit around their border. This one begins the window
 * again with each point that is granted or given back. A point that is given back after the window ended does not make the
 * count negative.
 */
const slidingWindow = `
local consumed = redis.call('incrby', KEYS[1], ARGV[1])
if consumed < 0 then redis.call('set', KEYS[1], 0); consumed = 0 end
if consumed <= tonumber(ARGV[3]) then redis.call('expire', KEYS[1], ARGV[2]) end
return {consumed, redis.call('pttl', KEYS[1])}`;

/** How long an attempt has to wait, in milliseconds; 0 when it may go on. `isCrowded`: too many came at once, whatever their tokens. */
type Wait = { readonly waitMs: number; readonly isCrowded?: boolean };

/** How long a token stays undecided when the broker that decides about it dies, in seconds. */
const undecidedSeconds = 10;

/** The state of a token in Redis: its outcome, or, after `open`, the request with which it is being evaluated. */
type Known = 'wrong' | 'right' | `open ${string}`;
/** A broker is deciding whether the token may be evaluated. */
const undecided = 'asking';

/** Counts attempts in Redis. Every key expires. Wrong tokens of an address are counted by the worker that judges them (`redis-wrong-tokens.ts`). */
export function createTokenAttemptLimiter(
  connector: RedisConnector,
  log: Log,
  limits: Partial<TokenAttemptLimits> = {},
): TokenAttemptLimiter {
  const all = { ...defaultTokenAttemptLimits, ...limits };
  const { perSerial, serialSeconds, pauseSeconds } = all;
  // the library defines its script once for each connection
  const [redis, sliding] = [connector.connect('answer-now', log), connector.connect('answer-now', log)];
  const reportMalformed = createMalformedReport(log);
  const owning = <T>(key: string, work: () => Promise<T>) => withoutWrongType(redis, [key], reportMalformed, work);
  const serials = new RateLimiterRedis({
    storeClient: sliding,
    keyPrefix: tokenAttemptsKey('serial'),
    points: perSerial,
    duration: serialSeconds,
    customIncrTtlLuaScript: slidingWindow,
  });
  const pauses = createPauses(redis);
  const wrongTokens = createWrongTokenCounts(redis, reportMalformed, all);
  const turns = createTurns(all.perSecond, all.maxTurnSeconds * 1000);

  const reward = (serial: string) => owning(serials.getKey(serial), () => serials.reward(serial));

  /** Takes one of the serial's attempts, or gives the time in milliseconds until there is one. */
  async function takeOf(serial: string): Promise<{ taken: number; waitMs?: never } | { waitMs: number }> {
    const key = serials.getKey(serial);
    try {
      return { taken: (await owning(key, () => serials.consume(serial))).consumedPoints };
    } catch (refusal) {
      if (!(refusal instanceof RateLimiterRes)) throw refusal;
      const waitMs = Math.max(1, refusal.msBeforeNext);
      if (waitMs <= serialSeconds * 1000) return { waitMs };
      // this is longer than any window: the clock of Redis was set back meanwhile, so the window counts as over
      await serials.delete(serial);
      return takeOf(serial);
    }
  }

  const longestSerialPauseMs = (pauseSeconds * 2 ** (perSerial - 1) + all.maxTurnSeconds) * 1000;
  const pauseOfSerial = (serial: string) => pauses.leftMs(`serial ${serial}`, longestSerialPauseMs);

  /** Counts a new attempt, unless it has to wait. */
  async function countAttempt(serial: string, address: string): Promise<Wait> {
    const pausedFor = Math.max(...(await Promise.all([pauseOfSerial(serial), wrongTokens.pausedMs(address)])));
    if (pausedFor > 0) return { waitMs: pausedFor };
    const one = await takeOf(serial);
    if (one.waitMs !== undefined) return { waitMs: one.waitMs };
    // last: an attempt that is refused for its serial must not use up the points of others
    const turn = turns.take(address);
    if (turn.outcome === 'refused') {
      await reward(serial);
      return { waitMs: turn.inMs, isCrowded: true };
    }
    // begins before the turn has come, and lasts from then: other tokens for this serial must not be tried meanwhile
    const pause = pauseSeconds * 2 ** (one.taken - 1);
    if (pause > 0) await pauses.begin(`serial ${serial}`, pause + Math.ceil(turn.inMs / 1000));
    if (turn.inMs > 0) await sleep(turn.inMs);
    return { waitMs: 0 };
  }

  /** The wait of a repeated attempt: it is not counted, but causes work until the token is known to be right. */
  async function repeatAttempt(known: Known, address: string): Promise<Wait> {
    return { waitMs: known === 'right' ? 0 : await wrongTokens.pausedMs(address) };
  }

  /**
   * Equal attempts that arrive together wait until the first one is decided.
   * @returns undefined to the first one, which decides
   */
  async function claimOrRead(key: string): Promise<Known | typeof undecided | undefined> {
    for (let patience = 20; patience > 0; patience--) {
      if ((await redis.set(key, undecided, 'EX', undecidedSeconds, 'NX')) === 'OK') return undefined;
      const known = (await owning(key, () => redis.get(key))) as Known | typeof undecided | null;
      if (known !== null && known !== undecided) return known;
      await sleep(50);
    }
    // as in `takeOf`: the broker that decides has long died
    if ((await redis.pttl(key)) > undecidedSeconds * 1000) await redis.del(key);
    return undecided;
  }

  return {
    async begin({ serial, tokenHash, address, purpose }): Promise<TokenAttemptVerdict> {
      // the same token for the same purpose is one attempt, at whichever broker and however often it is presented
      const key = attemptedTokenKey(recipientIdOf(serial, tokenHash));
      const remember = (known: Known) => redis.set(key, known, 'EX', serialSeconds);
      const open: Known = `open ${createHash('sha256').update(purpose).digest('base64url')}`;
      const known = await claimOrRead(key);
      if (known === 'wrong') return { verdict: 'wrong' };
      if (known === undecided) return { verdict: 'wait', seconds: 1 };

      const counts = known === undefined || (known !== open && known !== 'right');
      const { waitMs, isCrowded = false } = counts
        ? await countAttempt(serial, address)
        : await repeatAttempt(known, address);
      if (known === undefined && waitMs > 0) await redis.del(key);
      if (waitMs > 0) return { verdict: 'wait', seconds: Math.ceil(waitMs / 1000), ...(isCrowded && { isCrowded }) };
      if (counts) await remember(open);
      return {
        verdict: 'go',
        wasRight: known === 'right',
        async settle(outcome) {
          if (outcome === 'unused') await wrongTokens.countWrong(address);
          if (outcome === 'right' || outcome === 'wrong') await remember(outcome);
          if (outcome === 'right' && counts) {
            await reward(serial);
            await pauses.end(`serial ${serial}`);
          }
        },
      };
    },
    async close() {
      await Promise.all([disconnectRedis(redis), disconnectRedis(sliding)]);
    },
  };
}

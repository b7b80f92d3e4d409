import { type Problem, problem } from '../protocol/problems.ts';
import { isNonce, nonceRule, signedTimeBytes } from '../protocol/time.ts';
import type { Log } from '../runtime/log.ts';
import type { Limits } from './limits.ts';
import { TokenBucket } from './listener/token-bucket.ts';
import type { Session } from './session.ts';

/** What signs the time, and judges the clock that it comes from. */
export type TimeSigner = {
  /** @returns ECDSA with P-256 and SHA-256, as DER */
  sign(bytes: Buffer): Buffer;
  /** Why a clock that shows this time (epoch milliseconds) must be wrong; undefined when it may be right. */
  whyDoubted(now: number): string | undefined;
};

/** `time`: epoch seconds. */
export type TimeAnswer = { readonly time: number; readonly signature: Buffer } | { readonly problem: Problem };

export type TimeAnswers = ReturnType<typeof createTimeAnswers>;

const tooMany = problem(
  'Throttled',
  'this connection has asked for the time too often: one answer is enough, so set the clock by it',
  10,
);

const clockWrong = problem(
  'UpstreamUnavailable',
  'the clock of the gateway is wrong, so its time is not signed; its operator has been told. Ask again later',
  300,
);

/** How often the operator is told that the clock is wrong, in milliseconds. */
const tellEveryMs = 600_000;

/**
 * Answers questions for the time, of connections that may have proved nothing. A signature costs 0.04 ms, the handshake before it more than a
 * millisecond, and a connection gets few: so an attacker pays more than it causes.
 * @param steadyNow milliseconds of a clock that is never set
 */
export function createTimeAnswers(
  { sign, whyDoubted }: TimeSigner,
  { timeQuestions, log }: Pick<Limits, 'timeQuestions'> & { log: Log },
  steadyNow: () => number = () => performance.now(),
) {
  const budgets = new WeakMap<Session, TokenBucket>();
  let toldAt = Number.NEGATIVE_INFINITY;

  function fits(session: Session): boolean {
    const budget = budgets.get(session) ?? new TokenBucket(timeQuestions, steadyNow);
    budgets.set(session, budget);
    return budget.take();
  }

  function tellOperator(reason: string, now: number): void {
    if (steadyNow() - toldAt < tellEveryMs) return;
    toldAt = steadyNow();
    log.error(
      { reason, now: new Date(now).toISOString(), cure: 'set the clock of this machine, best by NTP' },
      'a device asked for the time, and the clock of this machine must be wrong: the time is not signed',
    );
  }

  return {
    /** @param now epoch milliseconds */
    answer(session: Session, nonce: string, now: number): TimeAnswer {
      if (!isNonce(nonce)) return { problem: problem('InvalidRequest', nonceRule) };
      if (!fits(session)) return { problem: tooMany };
      const doubt = whyDoubted(now);
      if (doubt !== undefined) {
        tellOperator(doubt, now);
        return { problem: clockWrong };
      }
      const time = Math.floor(now / 1000);
      return { time, signature: sign(signedTimeBytes(nonce, time)) };
    },
  };
}

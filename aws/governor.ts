import { setTimeout as sleep } from 'node:timers/promises';
import type { Log } from '../runtime/log.ts';
import { UpstreamThrottled } from '../runtime/upstream.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import type { AwsGate } from './gate.ts';
import type { AwsOperation } from './iam-policy.ts';
import { type CallCounts, createOwnBuckets, type QuotaBuckets, quotaRule } from './quota-buckets.ts';
import { createSlowStart } from './slow-start.ts';

/** For how long a throttled call is made again, and its token awaited: within the lease of the attempt. Milliseconds. */
const devicePatienceMs = 5000;
/** The same for a task that no device waits for. */
const taskPatienceMs = 60_000;

/** How soon Redis is asked again where it does not answer, in milliseconds. */
const redisAwayMs = 500;
/** A longer wait is looked at again: the rate may have changed. */
const longestLookMs = 1000;
/** How long a task goes by the rates that it has read. */
const ratesMs = 1000;
/** How often the log says at most that a rate fell. */
const quietMs = 60_000;

/**
 * How calls of this process follow each other, whenever they got their tokens: a fifth of what AWS's own bucket is deep, and at the lower rate once
 * one of them was throttled. Calls that were held up on their path (a slow start, a busy machine) would otherwise all go at once, and those that
 * have their tokens already go on at the rate of before.
 */
const smoothRule = { ...quotaRule, ceiling: 1, burstSeconds: 0.2 };

/** Milliseconds that only go forward. `sleep` ends early, with an error, when the signal says so. */
export type GovernorClock = { now(): number; sleep(ms: number, signal?: AbortSignal): Promise<unknown> };

const processClock: GovernorClock = {
  now: () => performance.now(),
  sleep: (ms, signal) => sleep(ms, undefined, signal === undefined ? {} : { signal }),
};

/** The tokens of one request. `end` gives back what was not used, and is called in any case. */
export type Permit = { end(): Promise<void> };

/**
 * Holds the calls of a gateway to the account's quotas: below them, and below what other gateways of the account leave.
 *
 * A request of a device takes the tokens of its whole path before its first call, in order of arrival, so that it does not stop
 * halfway; after a rest few are let through until AWS has answered (`slow-start.ts`). Calls beyond that path, and calls that are
 * made again, take a token before all who wait for a whole path. Where AWS throttles a call all the same, the rate falls and the
 * call is made again.
 */
export type Governor = {
  /** Waits until it is this request's turn. @returns undefined when the signal came first */
  admit(operations: readonly AwsOperation[], signal?: AbortSignal): Promise<Permit | undefined>;
  /** For requests of devices that were let through. */
  forDevices(gate: AwsGate): AwsGate;
  /** For a task that no device waits for: it gets its share of each rate at any time, and no more. */
  forTask(gate: AwsGate, share: number): AwsGate;
  /** How many requests with these calls are let through in a second, at present; undefined where there is no limit. */
  perSecond(operations: readonly AwsOperation[]): Promise<number | undefined>;
  /** Tasks do not wait any longer. */
  close(): void;
};

export function createGovernor({
  limits,
  buckets,
  log,
  metrics,
  clock = processClock,
}: {
  /** calls a second, by operation; others have no limit */
  readonly limits: CallCounts;
  /** absent: those of this process alone */
  readonly buckets?: QuotaBuckets | undefined;
  readonly log: Log;
  readonly metrics: Pick<Metrics, 'quotaWaitSeconds'>;
  readonly clock?: GovernorClock;
}): Governor {
  const own = createOwnBuckets(limits, { now: clock.now });
  const smooth = createOwnBuckets(limits, { now: clock.now, rule: smoothRule });
  const closing = new AbortController();
  const prepaid = createPrepaid();
  const slowStart = createSlowStart(clock.now);
  const sayLowered = createLoweredLog(log, clock);
  let line: Promise<unknown> = Promise.resolve();
  /** Wakes the request that waits for the tokens of its path: one does at a time. */
  let lookAgain = (): void => {};

  const nameOf = (operation: AwsOperation): string | undefined => {
    const name = operation.replace(/^iot:/, '');
    return Object.hasOwn(limits, name) ? name : undefined;
  };
  const countsOf = (operations: readonly AwsOperation[]): CallCounts =>
    Object.fromEntries(operations.flatMap((operation) => nameOf(operation) ?? []).map((name) => [name, 1]));

  /** What is under way goes on while Redis is away, by the buckets of this process. */
  async function sharedOrOwn<T>(ask: (from: QuotaBuckets) => Promise<T>): Promise<T> {
    if (buckets === undefined) return ask(own);
    try {
      return await ask(buckets);
    } catch (err) {
      log.debug({ err }, 'the tokens of Redis cannot be asked for');
      return ask(own);
    }
  }

  /** @param signal ends it early */
  const pause = async (ms: number, signal?: AbortSignal) => {
    if (ms > 0) await clock.sleep(ms, signal).catch(() => {});
  };

  /**
   * Ends early as well when tokens were given back: wrong tokens of strangers take those of a path and give all of them back, and would
   * otherwise cost the devices behind them as much time as if each were a device.
   */
  async function pauseForTokens(ms: number, signal: AbortSignal | undefined): Promise<void> {
    if (signal?.aborted === true) return;
    const early = new AbortController();
    const wake = () => early.abort();
    lookAgain = wake;
    signal?.addEventListener('abort', wake);
    await pause(ms, early.signal);
    signal?.removeEventListener('abort', wake);
  }

  /** @returns false when the signal came first */
  async function enter(counts: CallCounts, signal: AbortSignal | undefined): Promise<boolean> {
    if (Object.keys(counts).length === 0) return true;
    if (!(await slowStart.enter(signal))) return false;
    const taken = await takeAll(counts, signal);
    if (!taken) slowStart.leave();
    return taken;
  }

  /** @returns false when the signal came first */
  async function takeAll(counts: CallCounts, signal: AbortSignal | undefined): Promise<boolean> {
    while (signal?.aborted !== true) {
      const waitMs = await (buckets ?? own).takeAll(counts).catch(() => redisAwayMs);
      if (waitMs <= 0) return true;
      // at least one: a token that is almost there may be less than the clock can tell
      await pauseForTokens(Math.min(Math.ceil(waitMs), longestLookMs), signal);
    }
    return false;
  }

  async function lower(name: string, sentAt: number): Promise<void> {
    const sentMsAgo = clock.now() - sentAt;
    await smooth.throttled(name, sentMsAgo);
    const rate = await sharedOrOwn((from) => from.throttled(name, sentMsAgo));
    if (rate !== undefined) sayLowered(name, rate);
  }

  /** Makes a call, and again while AWS throttles it: then it did nothing. */
  async function patiently<T>(call: () => Promise<T>, name: string, token: () => Promise<void>, patienceMs: number) {
    const since = clock.now();
    for (;;) {
      await token();
      await pause(await smooth.takeOne(name), closing.signal);
      const sentAt = clock.now();
      try {
        return await call();
      } catch (error) {
        if (!(error instanceof UpstreamThrottled)) throw error;
        slowStart.throttled();
        await lower(name, sentAt);
        if (clock.now() - since > patienceMs) throw error;
      }
    }
  }

  /** Takes a token in advance, and waits for it. @throws UpstreamThrottled where that takes too long */
  async function takeOne(name: string, waiter: 'call' | 'task', patienceMs: number): Promise<void> {
    const waitMs = await sharedOrOwn((from) => from.takeOne(name));
    if (waitMs > patienceMs) {
      await sharedOrOwn((from) => from.giveBack({ [name]: 1 }));
      throw new UpstreamThrottled(`iot:${name}`);
    }
    if (waitMs > 0) await pause(waitMs, waiter === 'task' ? closing.signal : undefined);
    metrics.quotaWaitSeconds.observe(waitMs / 1000, { waiter });
  }

  return {
    async admit(operations, signal) {
      const [since, counts] = [clock.now(), countsOf(operations)];
      const turn = line.then(() => enter(counts, signal));
      line = turn;
      if (!(await turn)) return undefined;
      metrics.quotaWaitSeconds.observe((clock.now() - since) / 1000, { waiter: 'device' });
      prepaid.add(counts);
      return {
        async end() {
          if (Object.keys(counts).length > 0) slowStart.leave();
          const unused = prepaid.end(counts);
          if (Object.keys(unused).length === 0) return;
          await sharedOrOwn((from) => from.giveBack(unused));
          lookAgain();
        },
      };
    },
    forDevices: (gate) => ({
      async call(operation, send) {
        const name = nameOf(operation);
        if (name === undefined) return gate.call(operation, send);
        const token = async () => {
          if (!prepaid.use(name)) await takeOne(name, 'call', devicePatienceMs);
        };
        const answer = await patiently(() => gate.call(operation, send), name, token, devicePatienceMs);
        slowStart.answered();
        return answer;
      },
    }),
    forTask(gate, share) {
      const inTurn = createPacer(clock);
      let rates: { readonly of: CallCounts; readonly at: number } | undefined;
      return {
        async call(operation, send) {
          const name = nameOf(operation);
          if (name === undefined) return gate.call(operation, send);
          const token = async () => {
            if (rates === undefined || clock.now() - rates.at > ratesMs)
              rates = { of: await sharedOrOwn((from) => from.rates()), at: clock.now() };
            const waitMs = inTurn(name, share * (rates.of[name] ?? 1));
            if (waitMs > 0) await pause(waitMs, closing.signal);
            await takeOne(name, 'task', taskPatienceMs);
          };
          return patiently(() => gate.call(operation, send), name, token, taskPatienceMs);
        },
      };
    },
    async perSecond(operations) {
      const names = Object.keys(countsOf(operations));
      if (names.length === 0) return undefined;
      const rates = await (buckets ?? own).rates();
      return Math.min(...names.map((name) => rates[name] ?? Number.POSITIVE_INFINITY));
    },
    close: () => closing.abort(),
  };
}

/**
 * The tokens of the requests that were let through. A call uses one of its operation, whichever request took it: together they
 * never hold more than those under way may still need.
 */
function createPrepaid() {
  const tokens = new Map<string, number>();
  const needed = new Map<string, number>();
  const change = (map: Map<string, number>, name: string, by: number) => map.set(name, (map.get(name) ?? 0) + by);
  return {
    add(counts: CallCounts): void {
      for (const [name, count] of Object.entries(counts)) {
        change(tokens, name, count);
        change(needed, name, count);
      }
    },
    use(name: string): boolean {
      if ((tokens.get(name) ?? 0) < 1) return false;
      change(tokens, name, -1);
      return true;
    },
    /** @returns the tokens that no request under way can need */
    end(counts: CallCounts): CallCounts {
      const unused = Object.entries(counts).flatMap(([name, count]): [string, number][] => {
        change(needed, name, -count);
        const tooMany = (tokens.get(name) ?? 0) - (needed.get(name) ?? 0);
        if (tooMany <= 0) return [];
        change(tokens, name, -tooMany);
        return [[name, tooMany]];
      });
      return Object.fromEntries(unused);
    },
  };
}

/** Spaces the calls of each operation evenly. @returns how long this one waits, in milliseconds */
function createPacer(clock: GovernorClock) {
  const nextAt = new Map<string, number>();
  return (name: string, perSecond: number): number => {
    const now = clock.now();
    const at = Math.max(now, nextAt.get(name) ?? 0);
    nextAt.set(name, at + 1000 / perSecond);
    return at - now;
  };
}

function createLoweredLog(log: Log, clock: GovernorClock) {
  let nextAt = Number.NEGATIVE_INFINITY;
  return (operation: string, rate: number): void => {
    const now = clock.now();
    const level = now < nextAt ? 'debug' : 'info';
    if (level === 'info') nextAt = now + quietMs;
    const perSecond = Number(rate.toFixed(2));
    log[level](
      { operation, perSecond },
      'AWS throttled a call, which is made again: others in this account call as well, or its quota is lower than CVM_QUOTAS says. Calls go more slowly',
    );
  };
}

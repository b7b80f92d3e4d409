import { createGovernor, type Governor } from '../aws/governor.ts';
import { quotaRule } from '../aws/quota-buckets.ts';
import { vendingCalls } from '../issuer/vending-calls.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { createMissedAnswers } from '../queue/redis-line.ts';
import { createPace } from '../queue/redis-pace.ts';
import { createQuotaBuckets } from '../queue/redis-quota-buckets.ts';
import { type Admission, nothingToCall } from '../worker/admission.ts';
import type { App } from './app.ts';

/** How often the workers say how fast devices are let through, in milliseconds. */
const paceMs = 2000;

/** Shares the account's quotas with all workers of this Redis. */
export function connectGovernor({ settings, log, metrics, lifecycle }: App, redis: RedisConnector): Governor {
  const { awsQuotas: limits } = settings;
  const buckets = createQuotaBuckets(redis, log, limits, quotaRule);
  lifecycle.add({ name: 'quota buckets', close: () => buckets.close() });
  return createGovernor({ limits, buckets, log, metrics });
}

/** Lets requests begin, and tells brokers and metrics how fast, by the calls of the latest request. */
export function openAdmission({ log, metrics, lifecycle }: App, redis: RedisConnector, governor: Governor): Admission {
  const pace = createPace(redis, log);
  const missed = createMissedAnswers(redis, log);
  let calls = vendingCalls('csr', { group: false });
  let perSecond: number | undefined;
  metrics.devicesPerSecond.readFrom(() => perSecond ?? 0);
  async function tell(): Promise<void> {
    perSecond = await governor.perSecond(calls);
    if (perSecond !== undefined) await pace.notePace(perSecond);
  }
  const timer = setInterval(
    () => void tell().catch((err: unknown) => log.debug({ err }, 'the pace of devices could not be told')),
    paceMs,
  );
  lifecycle.add({
    name: 'pace',
    async close() {
      clearInterval(timer);
      await pace.close();
    },
  });
  lifecycle.add({ name: 'missed answers', close: () => missed.close() });
  return {
    async admit(recipientId, wanted, signal) {
      calls = wanted;
      if (perSecond === undefined) return governor.admit(wanted, signal);
      // its answer is kept; where it is not, its calls take their tokens one by one
      const needsNoCall = await missed.comesBack(recipientId).catch(() => false);
      return needsNoCall ? nothingToCall : governor.admit(wanted, signal);
    },
  };
}

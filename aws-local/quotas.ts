import { type AwsQuotas, awsQuotasOf } from '../runtime/aws-quotas.ts';

/** Some quotas stand in place of the defaults. */
export type Quotas = 'default' | 'off' | AwsQuotas;

/** A token bucket for each operation, one second deep and at least one call. `take` returns false where AWS would throttle. */
export function createQuotas(quotas: Quotas, now: () => number = () => performance.now()) {
  const rates = awsQuotasOf(quotas);
  const buckets = new Map<string, { level: number; at: number }>();
  return {
    /** calls a second, by operation */
    rates,
    take(operation: string): boolean {
      const rate = rates[operation];
      if (rate === undefined) return true;
      const depth = Math.max(1, rate);
      const bucket = buckets.get(operation) ?? { level: depth, at: now() };
      const level = Math.min(depth, bucket.level + ((now() - bucket.at) / 1000) * rate);
      buckets.set(operation, { level: level >= 1 ? level - 1 : level, at: now() });
      return level >= 1;
    },
  };
}

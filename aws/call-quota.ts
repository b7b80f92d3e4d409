import { setTimeout as sleep } from 'node:timers/promises';
import type { AwsGate } from './gate.ts';
import type { AwsOperation } from './iam-policy.ts';

/** Milliseconds that only go forward. */
type QuotaClock = { now(): number; sleep(ms: number): Promise<unknown> };

/**
 * A gate that lets a limited number of calls a second of each operation through, evenly spaced. AWS counts each operation of
 * an account by itself; a background task with a small quota leaves the rest to the devices that wait.
 */
export function withCallQuota(
  gate: AwsGate,
  callsPerSecond: number,
  clock: QuotaClock = { now: () => performance.now(), sleep },
): AwsGate {
  const nextAt = new Map<AwsOperation, number>();
  return {
    async call(operation, send) {
      const now = clock.now();
      const at = Math.max(now, nextAt.get(operation) ?? 0);
      nextAt.set(operation, at + 1000 / callsPerSecond);
      if (at > now) await clock.sleep(at - now);
      return gate.call(operation, send);
    },
  };
}

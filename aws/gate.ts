import { type AwsPlace, upstreamError } from './errors.ts';
import type { AwsOperation } from './iam-policy.ts';

/**
 * Every call to AWS passes a gate. The adapters in `registry/` and `issuer/` make no call past it, so quota, metrics and
 * the mapping of errors have one place each.
 */
export interface AwsGate {
  /**
   * Makes one call. @param send makes the SDK call; it is called once
   * @throws UpstreamThrottled, UpstreamUnreachable or UpstreamRefused (`runtime/upstream.ts`) where AWS did nothing; any
   * other error as it came: then the call may have taken effect. A client that repeats calls by itself says this of its
   * last try only, so calls that must not happen twice are sent by a client with `maxAttempts: 1`
   */
  call<T>(operation: AwsOperation, send: () => Promise<T>): Promise<T>;
}

/**
 * The gate of the product: it maps AWS's errors to ours.
 * @param region the region that the clients use; rejects when none is set. `() => client.config.region()` gives it
 */
export function createAwsGate({ table, region }: { table: string; region(): Promise<string> }): AwsGate {
  return {
    async call(operation, send) {
      try {
        return await send();
      } catch (error) {
        const place: AwsPlace = { table, region: await region().catch(() => undefined) };
        throw upstreamError(operation, error, place);
      }
    },
  };
}

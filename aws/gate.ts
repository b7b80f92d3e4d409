import { ofOperation, UpstreamUnreachable } from '../runtime/upstream.ts';
import {
  type AwsPlace,
  areCredentialsAway,
  isWithoutCredentials,
  missingCredentials,
  upstreamError,
} from './errors.ts';
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

/** A source of credentials that fails for so long is not only busy. Milliseconds. */
const patienceMs = 60_000;

/**
 * The gate of the product: it maps AWS's errors to ours.
 * @param region the region that the clients use; rejects when none is set. `() => client.config.region()` gives it
 * @param elapsed milliseconds of a clock that only goes forward
 */
export function createAwsGate({
  table,
  region,
  tableOption,
  elapsed = () => performance.now(),
}: {
  table: string;
  tableOption?: string | undefined;
  region(): Promise<string>;
  elapsed?(): number;
}): AwsGate {
  /** since when no call had credentials */
  let withoutSince: number | undefined;
  return {
    async call(operation, send) {
      try {
        const answer = await send();
        withoutSince = undefined;
        return answer;
      } catch (error) {
        const place: AwsPlace = { table, tableOption, region: await region().catch(() => undefined) };
        withoutSince = isWithoutCredentials(error) ? (withoutSince ?? elapsed()) : undefined;
        // the service that gives them to a machine or a container may be busy for a moment
        const mayPass =
          areCredentialsAway(error) || (withoutSince !== undefined && elapsed() - withoutSince < patienceMs);
        if (withoutSince !== undefined && mayPass && place.region !== undefined)
          throw ofOperation(operation, new UpstreamUnreachable(operation, error as Error, missingCredentials(error)));
        throw ofOperation(operation, upstreamError(operation, error, place));
      }
    },
  };
}

/** One operation of one AWS API, as IAM names it: `iot:CreateThing`, `dynamodb:UpdateItem`. */
export type AwsOperation = `iot:${string}` | `dynamodb:${string}`;

/**
 * Every call to AWS passes a gate. The adapters in `registry/` and `issuer/` make no call past it, so quota, metrics and
 * the mapping of errors have one place each.
 */
export interface AwsGate {
  /**
   * Makes one call. @param send makes the SDK call; it is called once
   * @throws UpstreamThrottled, UpstreamUnreachable or UpstreamRefused (`runtime/upstream.ts`) where AWS certainly did
   * nothing; any other error as it came: then the call may have taken effect
   */
  call<T>(operation: AwsOperation, send: () => Promise<T>): Promise<T>;
}

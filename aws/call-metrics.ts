import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';
import type { Metrics } from '../telemetry/metrics.ts';
import { awsErrorName } from './errors.ts';
import type { AwsGate } from './gate.ts';

/** A gate that reports each call, with its outcome and how long it took. A quota goes around it: waiting is no part of a call. */
export function withCallMetrics(
  gate: AwsGate,
  { awsCallSeconds }: Pick<Metrics, 'awsCallSeconds'>,
  now: () => number = () => performance.now(),
): AwsGate {
  return {
    async call(operation, send) {
      const start = now();
      const report = (outcome: Outcome) => awsCallSeconds.observe((now() - start) / 1000, { operation, outcome });
      try {
        const result = await gate.call(operation, send);
        report('done');
        return result;
      } catch (error) {
        report(outcomeOf(error));
        throw error;
      }
    },
  };
}

type Outcome = Parameters<Metrics['awsCallSeconds']['observe']>[1]['outcome'];

/** A transaction is cancelled by one, nearly always. */
const conditionsFailed = new Set(['ConditionalCheckFailedException', 'TransactionCanceledException']);

function outcomeOf(error: unknown): Outcome {
  if (conditionsFailed.has(awsErrorName(error))) return 'condition_failed';
  if (error instanceof UpstreamThrottled) return 'throttled';
  if (error instanceof UpstreamUnreachable) return 'unreachable';
  return error instanceof UpstreamRefused ? 'refused' : 'failed';
}

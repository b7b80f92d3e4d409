import type { Tracing } from '../runtime/tracing.ts';
import type { AwsGate } from './gate.ts';

/**
 * A gate that makes a span of each call, named as OpenTelemetry names calls of the AWS SDK
 * (https://opentelemetry.io/docs/specs/semconv/cloud-providers/aws-sdk/). A quota goes around it: waiting is no part of a call.
 */
export function withCallSpans(gate: AwsGate, tracing: Pick<Tracing, 'span'> | undefined): AwsGate {
  if (tracing === undefined) return gate;
  return {
    call(operation, send) {
      const [service = '', method = ''] = operation.split(':');
      const attributes = { 'rpc.system': 'aws-api', 'rpc.service': service, 'rpc.method': method };
      return tracing.span(`aws ${operation}`, 'call', attributes, () => gate.call(operation, send));
    },
  };
}

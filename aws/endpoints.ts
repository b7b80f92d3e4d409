import { DescribeLimitsCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DescribeEndpointCommand, type IoTClient } from '@aws-sdk/client-iot';
import type { AwsEndpoints } from './domains.ts';

/**
 * The endpoints that these clients call, as all sources of the SDK's settings say together: environment, profile, region and
 * account. No call is made.
 * @throws when they cannot be known: without a region, say
 */
export async function endpointsOf(iot: IoTClient, dynamoDb: DynamoDBClient): Promise<AwsEndpoints> {
  const iotEndpoint = interceptCalls(iot.middlewareStack as DynamoDBClient['middlewareStack']);
  const dynamoDbEndpoint = interceptCalls(dynamoDb.middlewareStack);
  await iot.send(new DescribeEndpointCommand({}));
  await dynamoDb.send(new DescribeLimitsCommand({}));
  return { iot: iotEndpoint(), dynamoDb: dynamoDbEndpoint() };
}

/** From now on the client answers each call itself, after the SDK decided where to send it. @returns where that was */
function interceptCalls(steps: DynamoDBClient['middlewareStack']): () => string {
  let endpoint = '';
  steps.add(
    () => async (args) => {
      const { protocol, hostname, port } = args.request as { protocol: string; hostname: string; port?: number };
      endpoint = `${protocol}//${hostname}${port === undefined ? '' : `:${port}`}`;
      return { output: { $metadata: {} }, response: {} };
    },
    { step: 'build', priority: 'high', name: 'interceptCalls' },
  );
  return () => endpoint;
}

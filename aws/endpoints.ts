import { DescribeLimitsCommand, type DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DescribeEndpointCommand, type IoTClient } from '@aws-sdk/client-iot';

/** Where calls go: `https://iot.eu-west-1.amazonaws.com`. */
export type AwsEndpoints = { readonly iot: string; readonly dynamoDb: string };

/** The domains of AWS's own endpoints, VPC endpoints included, in all of its partitions. */
const awsDomains = [
  'amazonaws.com',
  'amazonaws.com.cn',
  'amazonaws.eu',
  'api.aws',
  'api.amazonwebservices.com.cn',
  'api.amazonwebservices.eu',
  'c2s.ic.gov',
  'sc2s.sgov.gov',
  'cloud.adc-e.uk',
  'csp.hci.ic.gov',
];

/** Whether AWS itself answers there; if not, a stand-in does. */
export function isAwsEndpoint(url: string): boolean {
  const host = URL.canParse(url) ? new URL(url).hostname : '';
  return awsDomains.some((domain) => host.endsWith(`.${domain}`));
}

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

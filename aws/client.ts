import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { IoTClient, type IoTClientConfig } from '@aws-sdk/client-iot';
import type { IamRole } from './iam-policy.ts';

export type AwsClientOptions = {
  /** shown in CloudTrail: `cvm-gateway/operator` */
  readonly role?: IamRole | undefined;
  /** how long one try of one call waits for its answer, and then for each further part of it, in milliseconds */
  readonly answerMs?: number | undefined;
  /** how often the SDK tries a call that failed; 1 for calls that must not happen twice */
  readonly maxAttempts?: number | undefined;
  /** gets the `Date` header of each answer, also of one that is an error */
  readonly onDate?: ((date: string | undefined) => void) | undefined;
} & Pick<IoTClientConfig, 'region' | 'endpoint' | 'credentials'>;

/** Region, endpoint and credentials come from the SDK's own chain where `options` does not name them. */
export function connectDynamoDb(options: AwsClientOptions = {}): DynamoDBClient {
  return adapted(new DynamoDBClient(clientSettings(options, 5000)), options);
}

export function connectIot(options: AwsClientOptions = {}): IoTClient {
  return adapted(new IoTClient(clientSettings(options, 20_000)), options);
}

function adapted<Client extends DynamoDBClient | IoTClient>(client: Client, { onDate }: AwsClientOptions): Client {
  // the SDK prepares input and output of every call for a logger, also where there is none. That costs CPU, and a logger
  // would get hashes of tokens and sealed keys, so there is no such step
  client.middlewareStack.remove('loggerMiddleware');
  if (onDate !== undefined) hearDates(client.middlewareStack as DynamoDBClient['middlewareStack'], onDate);
  return client;
}

function hearDates(steps: DynamoDBClient['middlewareStack'], onDate: (date: string | undefined) => void): void {
  // the innermost step after an answer came: before it becomes a result or an error
  steps.add(
    (next) => async (args) => {
      const result = await next(args);
      onDate((result.response as { headers?: Record<string, string> }).headers?.date);
      return result;
    },
    { step: 'deserialize', priority: 'low', name: 'hearDates' },
  );
}

/**
 * The SDK's own settings have no time limit for an answer: DynamoDBClient sets none, and without `throwOnRequestTimeout`
 * the time limit is only a warning in the log.
 */
function clientSettings(
  { role, answerMs, maxAttempts = 3, onDate: _used, ...chain }: AwsClientOptions,
  usualAnswerMs: number,
) {
  const waitMs = answerMs ?? usualAnswerMs;
  return {
    // the SDK takes a key with the value undefined for a value
    ...Object.fromEntries(Object.entries(chain).filter(([, value]) => value !== undefined)),
    customUserAgent: [role === undefined ? ['cvm-gateway'] : ['cvm-gateway', role]] satisfies [string, string?][],
    requestHandler: {
      connectionTimeout: 5000,
      requestTimeout: waitMs,
      throwOnRequestTimeout: true,
      // requestTimeout ends with the first byte of the answer: without this, an answer that stops halfway is awaited for ever
      socketTimeout: waitMs,
      httpAgent: { keepAlive: true, maxSockets: 128 },
      httpsAgent: { keepAlive: true, maxSockets: 128 },
    },
    retryMode: 'standard',
    maxAttempts,
    // the steps of a call are put together once for each command, not at each call: our clients change none after that
    cacheMiddleware: true,
  };
}

import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { IoTClient, type IoTClientConfig } from '@aws-sdk/client-iot';
import { ServiceQuotasClient } from '@aws-sdk/client-service-quotas';
import { defaultProvider } from '@aws-sdk/credential-provider-node';
import { type AwsConnections, createAwsConnections, silenceCure } from './connections.ts';
import { type RawAnswer, requireAnswerOfAws } from './foreign-answer.ts';
import type { IamRole } from './iam-policy.ts';
import { type Agents, createAgents } from './proxy.ts';

export type AwsClientOptions = {
  /** shown in CloudTrail: `cvm-gateway/operator` */
  readonly role?: IamRole | undefined;
  /** how long one try of one call waits for its answer, and then for each further part of it, in milliseconds */
  readonly answerMs?: number | undefined;
  /** how often the SDK tries a call that failed; 1 for calls that must not happen twice */
  readonly maxAttempts?: number | undefined;
  /** gets the `Date` header of each answer, also of one that is an error */
  readonly onDate?: ((date: string | undefined) => void) | undefined;
  /** shared with other clients: when a call of one gets no answer in time, the idle connections of all are closed */
  readonly connections?: AwsConnections | undefined;
  readonly credentials?: IoTClientConfig['credentials'] | undefined;
} & Pick<IoTClientConfig, 'region' | 'endpoint'>;

/** Region, endpoint and credentials come from the SDK's own chain where `options` does not name them. */
export function connectDynamoDb(options: AwsClientOptions = {}): DynamoDBClient {
  return adapted(DynamoDBClient, 5000, options);
}

export function connectServiceQuotas(options: AwsClientOptions = {}): ServiceQuotasClient {
  return adapted(ServiceQuotasClient, 5000, options);
}

/** A throttled call is not tried again: the governor must see it, and makes it again at its time. */
export function connectIot(options: AwsClientOptions = {}): IoTClient {
  const client = adapted(IoTClient, 20_000, options);
  const { retryStrategy } = client.config;
  client.config.retryStrategy = async () => {
    const strategy = await retryStrategy();
    return 'retry' in strategy ? strategy : withoutThrottling(strategy);
  };
  return client;
}

type RetryStrategy = Exclude<Awaited<ReturnType<IoTClient['config']['retryStrategy']>>, { retry: unknown }>;

function withoutThrottling(strategy: RetryStrategy): RetryStrategy {
  return {
    acquireInitialRetryToken: (scope) => strategy.acquireInitialRetryToken(scope),
    recordSuccess: (token) => strategy.recordSuccess(token),
    refreshRetryTokenForRetry(token, info) {
      if (info.errorType === 'THROTTLING') throw new Error('throttled calls are made again by the governor');
      return strategy.refreshRetryTokenForRetry(token, info);
    },
  };
}

function adapted<Client extends DynamoDBClient | IoTClient | ServiceQuotasClient>(
  Client: new (settings: IoTClientConfig) => Client,
  usualAnswerMs: number,
  options: AwsClientOptions,
): Client {
  const { connections = createAwsConnections(), ...chain } = options;
  const endpoint = typeof chain.endpoint === 'string' ? chain.endpoint : undefined;
  const { pools, ...agents } = createAgents({ keepAlive: true, maxSockets: 128 }, connections.proxy, endpoint);
  connections.add(pools);
  const client = new Client(clientSettings(chain, usualAnswerMs, agents));
  const steps = client.middlewareStack as DynamoDBClient['middlewareStack'];
  removeSpareSteps(steps);
  nameAgent(steps, options.role);
  watchAnswers(steps, {
    heard: options.onDate ?? (() => {}),
    silent: connections.dropIdle,
  });
  return client;
}

/** What the SDK gives to the chain that finds credentials: the settings of the client, and its request handler. */
type CredentialInit = NonNullable<Parameters<typeof defaultProvider>[0]> & Pick<IoTClientConfig, 'requestHandler'>;

type Steps = DynamoDBClient['middlewareStack'];

/**
 * Steps of every call that do nothing for us, and cost CPU.
 * @see https://docs.aws.amazon.com/sdk-for-javascript/v3/developer-guide/middleware-stack.html
 */
function removeSpareSteps(steps: Steps): void {
  // prepares input and output for a logger, also where there is none; one would get hashes of tokens and sealed keys
  steps.remove('loggerMiddleware');
  // tells a Lambda function that calls itself, by variables that only Lambda sets
  steps.remove('recursionDetectionMiddleware');
  // puts the text together anew at each call: `nameAgent` has it once
  steps.remove('getUserAgentMiddleware');
}

const runtime = `aws-sdk-js lang/js md/nodejs#${process.versions.node}`;

function nameAgent(steps: Steps, role: IamRole | undefined): void {
  const agent = `${runtime} ${role === undefined ? 'cvm-gateway' : `cvm-gateway/${role}`}`;
  steps.add(
    (next) => (args) => {
      (args.request as { headers: Record<string, string> }).headers['user-agent'] = agent;
      return next(args);
    },
    { step: 'build', name: 'nameAgent' },
  );
}

/** @param silent is called when a try got no answer in time */
function watchAnswers(
  steps: Steps,
  { heard, silent }: { heard(date: string | undefined): void; silent(): void },
): void {
  // the innermost step after an answer came: before it becomes a result or an error, and before the SDK tries again
  steps.add(
    (next, { commandName = 'a call' }) =>
      async (args) => {
        try {
          const result = await next(args);
          const response = result.response as RawAnswer;
          requireAnswerOfAws(response);
          heard(response.headers.date);
          return result;
        } catch (error) {
          if (!(error instanceof Error && error.name === 'TimeoutError')) throw error;
          silent();
          // the call may have taken effect: its error stays what it is, in words that say whose it is
          const message = `AWS did not answer ${commandName.replace(/Command$/, '')} in time: ${error.message}`;
          throw Object.assign(error, { message, cure: silenceCure });
        }
      },
    { step: 'deserialize', priority: 'low', name: 'watchAnswers' },
  );
}

/**
 * The SDK's own settings have no time limit for an answer: DynamoDBClient sets none, and without `throwOnRequestTimeout`
 * the time limit is only a warning in the log.
 */
function clientSettings(
  { role: _named, answerMs, maxAttempts = 3, onDate: _used, ...chain }: AwsClientOptions,
  usualAnswerMs: number,
  agents: Omit<Agents, 'pools'>,
) {
  const waitMs = answerMs ?? usualAnswerMs;
  return {
    // the SDK takes a key with the value undefined for a value
    ...Object.fromEntries(Object.entries(chain).filter(([, value]) => value !== undefined)),
    requestHandler: {
      connectionTimeout: 5000,
      requestTimeout: waitMs,
      throwOnRequestTimeout: true,
      // requestTimeout ends with the first byte of the answer: without this, an answer that stops halfway is awaited for ever
      socketTimeout: waitMs,
      ...agents,
    },
    // the SDK's calls for credentials of SSO would have neither time limits nor a proxy; those of STS have both
    credentialDefaultProvider: (init: CredentialInit) =>
      defaultProvider({ ...init, clientConfig: { requestHandler: init.requestHandler, ...init.clientConfig } }),
    retryMode: 'standard',
    maxAttempts,
    // the steps of a call are put together once for each command, not at each call: our clients change none after that
    cacheMiddleware: true,
  };
}

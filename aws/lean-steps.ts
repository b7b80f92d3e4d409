import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import type { IoTClient } from '@aws-sdk/client-iot';

type Steps = DynamoDBClient['middlewareStack'];
type Config = DynamoDBClient['config'] | IoTClient['config'];

/** Part of the SDK's `ClientProtocol`, whose own type is a union that nothing can call. */
type Protocol = {
  serializeRequest(operation: object, input: object, call: object): Promise<unknown>;
  deserializeResponse(operation: object, call: object, response: unknown): Promise<{ $metadata: object }>;
};

/**
 * Two steps of the SDK's clients in fewer words: an input becomes a request, and an answer becomes a result or an error, both by the SDK's own protocol.
 * The SDK's steps copy all settings of the client for each call, which took a fifth of its CPU; here each call inherits them.
 * @see https://docs.aws.amazon.com/sdk-for-javascript/v3/developer-guide/middleware-stack.html
 */
export function useLeanSteps(steps: Steps, config: Config): void {
  const protocol = config.protocol as unknown as Protocol;
  steps.add(
    (next, context) => async (args) => {
      const call = contextOf(config, context);
      return next({ ...args, request: await protocol.serializeRequest(operationOf(context), args.input, call) });
    },
    { step: 'serialize', name: 'serializerMiddleware', override: true },
  );
  steps.add(
    (next, context) => async (args) => {
      const response = (await next(args)).response as Answer;
      try {
        const call = contextOf(config, context);
        return { response, output: await protocol.deserializeResponse(operationOf(context), call, response) };
      } catch (error) {
        throw withResponse(error as Error, response);
      }
    },
    { step: 'deserialize', name: 'deserializerMiddleware', override: true },
  );
}

type Answer = { readonly statusCode: number };

function operationOf(context: object): object {
  const { __smithy_context: known } = context as { __smithy_context?: { operationSchema?: readonly unknown[] } };
  const [, namespace, name, traits, input, output] = known?.operationSchema ?? [];
  return { namespace, name, traits, input, output };
}

function contextOf(config: Config, context: object): object {
  const { endpointV2 } = context as { endpointV2?: unknown };
  const endpoint = async () => endpointV2 ?? (await config.endpoint?.());
  return Object.assign(Object.create(config) as object, context, { endpoint });
}

/** The step that tries again looks at what was answered. A log must not show it. */
function withResponse(error: Error, response: Answer): Error {
  Object.defineProperty(error, '$response', { value: response, enumerable: false });
  return '$metadata' in error ? error : Object.assign(error, { $metadata: { httpStatusCode: response.statusCode } });
}

import { Readable } from 'node:stream';
import { DynamoDBClient, GetItemCommand, TransactWriteItemsCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import {
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreateThingCommand,
  DescribeEndpointCommand,
  IoTClient,
  ListCertificatesCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { describe, expect, it } from 'vitest';
import { connectDynamoDb, connectIot } from '../../aws/client.ts';

type Client = DynamoDBClient | IoTClient;
type Send = (client: never) => Promise<unknown>;
type Request = Readonly<Record<'method' | 'protocol' | 'hostname' | 'path', string>> & {
  readonly port?: number;
  readonly query: object;
  readonly body?: string;
  readonly headers: Readonly<Record<string, string>>;
};
type Answer = readonly [status: number, body: string, headers?: Readonly<Record<string, string>>];

/** Everything that a caller, or AWS, can see of a call, but for the SDK's hint below a message how to debug it. */
async function seenOf(client: Client, send: Send, answers: readonly Answer[]) {
  const requests: object[] = [];
  const handle = async ({ method, protocol, hostname, path, port, query, body, headers }: Request) => {
    const { 'content-type': type, 'x-amz-target': target, 'x-amzn-principal': principal, host } = headers;
    requests.push({ method, protocol, hostname, path, port, query, body, type, target, principal, host });
    const [statusCode = 200, text = '', more = {}] = answers[Math.min(requests.length, answers.length) - 1] ?? [];
    const own = { 'x-amzn-requestid': 'id-1', 'content-type': 'application/x-amz-json-1.0', ...more };
    return { response: { statusCode, headers: { ...own }, body: Readable.from([Buffer.from(text)]) } };
  };
  Object.assign(client.config, { requestHandler: { handle } });
  const outcome = await send(client as never).then(
    (result) => ({ result }),
    (error: Error & { $metadata?: { httpStatusCode?: number; attempts?: number } }) => ({
      error: { ...error, name: error.name, message: error.message.split('\n')[0], $metadata: undefined },
      kind: error.constructor,
      status: error.$metadata?.httpStatusCode,
      attempts: error.$metadata?.attempts,
    }),
  );
  const withoutDelay = JSON.parse(JSON.stringify(outcome, (name, value) => (name === 'totalRetryDelay' ? 0 : value)));
  return { requests, outcome: withoutDelay, kind: 'kind' in outcome ? outcome.kind : undefined };
}

const settings = {
  region: 'eu-west-1',
  credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
  endpoint: 'http://127.0.0.1:8000/base',
};

const ok: Answer = [200, '{}'];
const item = { productId: { S: 'Gerät' }, n: { N: '1' }, list: { L: [{ M: { a: { BOOL: true } } }, { NULL: true }] } };
const write = {
  TableName: 't',
  Key: { productId: { S: 'Gerät "1"' } },
  UpdateExpression: 'SET a = :a',
  ExpressionAttributeValues: { ':a': { B: Buffer.from([1, 2]) } },
  ReturnValues: 'ALL_NEW',
} as const;
const refusal = JSON.stringify({
  __type: 'com.amazonaws.dynamodb.v20120810#ConditionalCheckFailedException',
  message: 'The conditional request failed',
  Item: item,
});
const dynamoDb: [string, (client: DynamoDBClient) => Promise<unknown>, Answer[]][] = [
  ['update', (client) => client.send(new UpdateItemCommand(write)), [[200, JSON.stringify({ Attributes: item })]]],
  ['condition that fails', (client) => client.send(new UpdateItemCommand(write)), [[400, refusal]]],
  [
    'read',
    (client) => client.send(new GetItemCommand({ TableName: 't', Key: item, ConsistentRead: true })),
    [[200, JSON.stringify({ Item: item })]],
  ],
  [
    'transaction that is cancelled',
    (client) =>
      client.send(new TransactWriteItemsCommand({ TransactItems: [{ Update: write }], ClientRequestToken: 'c' })),
    [
      [
        400,
        JSON.stringify({
          __type: 'com.amazonaws.dynamodb.v20120810#TransactionCanceledException',
          CancellationReasons: [{ Code: 'None' }, { Code: 'ConditionalCheckFailed', Message: 'm' }],
        }),
      ],
    ],
  ],
  ['outage that passes', (client) => client.send(new UpdateItemCommand(write)), [[500, '{}'], [503, '{}'], ok]],
  ['outage that stays', (client) => client.send(new UpdateItemCommand(write)), [[500, '{"message":"no"}']]],
  ['answer that is no JSON', (client) => client.send(new UpdateItemCommand(write)), [[200, '{"Attributes":']]],
];
const iot: [string, (client: IoTClient) => Promise<unknown>, Answer[]][] = [
  ['thing', (client) => client.send(new CreateThingCommand({ thingName: 'a:b_c' })), [[200, '{"thingName":"a:b_c"}']]],
  [
    'certificate',
    (client) =>
      client.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest: 'csr', setAsActive: false })),
    [[200, '{"certificateId":"ab","certificatePem":"pem"}']],
  ],
  [
    'header',
    (client) => client.send(new AttachThingPrincipalCommand({ thingName: 'a', principal: 'arn:aws:iot:a' })),
    [ok],
  ],
  [
    'query',
    (client) => client.send(new UpdateCertificateCommand({ certificateId: 'ab', newStatus: 'ACTIVE' })),
    [[200, '']],
  ],
  [
    'list with times',
    (client) => client.send(new ListCertificatesCommand({ pageSize: 2 })),
    [[200, '{"certificates":[{"creationDate":1.5}]}']],
  ],
  [
    'error by its header',
    (client) => client.send(new DescribeEndpointCommand({ endpointType: 'iot:Data-ATS' })),
    [[403, '{"message":"no"}', { 'x-amzn-errortype': 'UnauthorizedException:http://x' }]],
  ],
  ['missing input', (client) => client.send(new UpdateCertificateCommand({} as never)), [ok]],
];

describe("the lean steps of AWS' clients", () => {
  it.each(dynamoDb)("send and answer as the SDK's own steps do: DynamoDB, %s", async (_what, send, answers) => {
    const [ours, theirs] = [connectDynamoDb(settings), new DynamoDBClient({ ...settings, maxAttempts: 3 })];
    expect(await seenOf(ours, send, answers)).toEqual(await seenOf(theirs, send, answers));
  });

  it.each(iot)("send and answer as the SDK's own steps do: AWS IoT, %s", async (_what, send, answers) => {
    const [ours, theirs] = [connectIot(settings), new IoTClient({ ...settings, maxAttempts: 3 })];
    expect(await seenOf(ours, send, answers)).toEqual(await seenOf(theirs, send, answers));
  });
});

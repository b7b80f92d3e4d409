import { DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { AttachPolicyCommand, CreateThingCommand, IoTClient, UpdateCertificateCommand } from '@aws-sdk/client-iot';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { connectDynamoDb, connectIot } from '../../aws/client.ts';
import { createSigner } from '../../aws/signer.ts';

type Client = DynamoDBClient | IoTClient;
type Signer = Awaited<ReturnType<IoTClient['config']['signer']>>;
type Request = Parameters<Signer['sign']>[0];

const settings = {
  region: 'eu-west-1',
  credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' },
  maxAttempts: 1,
};

/** @returns the request of a call, as the client would have sent it */
async function sentBy(client: Client, send: (client: never) => Promise<unknown>): Promise<Request> {
  const seen: Request[] = [];
  const handle = async (request: Request) => {
    seen.push(request);
    throw new Error('not sent');
  };
  Object.assign(client.config, { requestHandler: { handle } });
  await expect(send(client as never)).rejects.toThrow('not sent');
  return required(seen[0]);
}

function required<T>(found: T | undefined): T {
  if (found === undefined) throw new Error('nothing was sent');
  return found;
}

/** @returns the headers that the SDK's own signer gives to the same request */
async function headersBySdk(client: Client, request: Request): Promise<Request['headers']> {
  const signer = await client.config.signer(undefined);
  return (await signer.sign(request, { signingDate: new Date() })).headers;
}

describe('the signer of calls to AWS', () => {
  beforeEach(() => void vi.useFakeTimers({ toFake: ['Date'], now: Date.parse('2026-03-01T23:59:59.999Z') }));
  afterEach(() => void vi.useRealTimers());

  const update = (client: DynamoDBClient) =>
    client.send(
      new UpdateItemCommand({
        TableName: 't',
        Key: { productId: { S: 'Gerät 1' } },
        UpdateExpression: 'SET a = :a',
        ExpressionAttributeValues: { ':a': { N: '1' } },
      }),
    );
  const activate = (client: IoTClient) =>
    client.send(new UpdateCertificateCommand({ certificateId: 'ab'.repeat(32), newStatus: 'ACTIVE' }));
  const attach = (policyName: string) => (client: IoTClient) =>
    client.send(new AttachPolicyCommand({ policyName, target: 'arn:aws:iot:eu-west-1:123456789012:cert/ab' }));
  const thing = (client: IoTClient) => client.send(new CreateThingCommand({ thingName: 'a:b_c-1' }));

  const calls: [string, (client: never) => Promise<unknown>, Record<string, unknown>][] = [
    ['DynamoDB', update, {}],
    ['DynamoDB, with a session', update, { credentials: { ...settings.credentials, sessionToken: 'of a role/+=' } }],
    ['AWS IoT', attach('p'), {}],
    ['AWS IoT, with a query', activate, {}],
    ['AWS IoT, with a colon in the path', thing, {}],
    ['AWS IoT, with characters that a path must escape', attach("a b+c=d,e@f.g!'()*ä"), {}],
    ['an endpoint with a path', attach('p'), { endpoint: 'http://127.0.0.1:8000/base//x/' }],
    ['an endpoint with dots in its path', attach('..'), { endpoint: 'http://127.0.0.1:8000' }],
    ['another region', update, { region: 'us-gov-west-1' }],
  ];

  it.each(calls)('signs as the SDK does: %s', async (_name, send, others) => {
    const all = { ...settings, ...others };
    const [ours, theirs] =
      send === update ? [connectDynamoDb(all), new DynamoDBClient(all)] : [connectIot(all), new IoTClient(all)];
    const request = await sentBy(ours, send);
    expect(request.headers).toEqual(await headersBySdk(theirs, request));
    expect(request.headers.authorization).toMatch(/Signature=[0-9a-f]{64}$/);
  });

  it('signs anew for the next day, and for other credentials', async () => {
    let credentials = settings.credentials;
    const region = async () => settings.region;
    const signer = await createSigner({ service: 'dynamodb', credentials: async () => credentials, region })(undefined);
    const request = await sentBy(connectDynamoDb(settings), update);
    const expectAsBySdk = async () => {
      const { headers } = await signer.sign(request, { signingDate: new Date() });
      expect(headers).toEqual(await headersBySdk(new DynamoDBClient({ ...settings, credentials }), request));
    };
    await expectAsBySdk();
    vi.setSystemTime(Date.parse('2026-03-02T00:00:00.000Z'));
    await expectAsBySdk();
    credentials = { accessKeyId: 'OTHER', secretAccessKey: 'other' };
    await expectAsBySdk();
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { CreateCertificateFromCsrCommand, DescribeEndpointCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { connectDynamoDb, connectIot } from '../../aws/client.ts';
import { createAwsGate } from '../../aws/gate.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';

const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };

describe('clients of AWS', () => {
  let aws: AwsLocal;
  let dataDir: string;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-client-'));
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  });
  afterAll(async () => {
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  function open(table: string, options: { answerMs?: number; endpoint?: string } = {}) {
    const client = connectDynamoDb({ region: 'eu-west-1', credentials, endpoint: aws.httpUrl, ...options });
    const gate = createAwsGate({ table, region: () => client.config.region() });
    const get = () =>
      gate.call('dynamodb:GetItem', () =>
        client.send(new GetItemCommand({ TableName: table, Key: { productId: { S: 'S' } } })),
      );
    return { client, get };
  }

  it('name the table that is missing, its region and the cure', async () => {
    await expect(open('no-such-table').get()).rejects.toMatchObject({
      name: 'UpstreamRefused',
      cure: expect.stringMatching(/"no-such-table" in eu-west-1.*cvm aws setup/),
    });
  });

  it("name a table whose key is another program's", async () => {
    const { client, get } = open('orders');
    await client.send(
      new CreateTableCommand({
        TableName: 'orders',
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: 'orderId', KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: 'orderId', AttributeType: 'S' }],
      }),
    );
    await expect
      .poll(() => get().catch((error: unknown) => error))
      .toMatchObject({ name: 'UpstreamRefused', cure: expect.stringContaining('"orders"') });
  });

  it('wait for an answer of DynamoDB for a limited time', async () => {
    const { get } = open('stalled', { answerMs: 100 });
    aws.faults.set([{ operation: 'DynamoDB.GetItem', kind: 'stall', ms: 2000 }]);
    await expect(get()).rejects.toMatchObject({ name: 'TimeoutError' });
    aws.faults.set([]);
  });

  it.each(['DynamoDB', 'AWS IoT'])(
    'wait for the rest of an answer of %s for a limited time',
    async (service) => {
      const server = createServer((_request, response) => {
        response.writeHead(200, { 'content-type': 'application/json', 'content-length': '5000' });
        response.write('{"Item":{');
      });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as AddressInfo;
      const options = {
        region: 'eu-west-1',
        credentials,
        endpoint: `http://127.0.0.1:${port}`,
        answerMs: 100,
        maxAttempts: 1,
      };
      const call =
        service === 'DynamoDB'
          ? connectDynamoDb(options).send(new GetItemCommand({ TableName: 't', Key: { productId: { S: 'S' } } }))
          : connectIot(options).send(new DescribeEndpointCommand({}));
      await expect(call).rejects.toThrow();
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
    60_000,
  );

  it.each([
    ['a page that blocks', 403, 'text/html', '<html>blocked</html>', 'UpstreamRefused'],
    ['nothing, with status 403', 403, undefined, '', 'UpstreamRefused'],
    ['too many requests', 429, 'text/plain', '', 'UpstreamThrottled'],
    ['a page with status 503', 503, 'text/html', '<html>busy</html>', 'ForeignAnswer'],
    ['a login page', 200, 'text/html', '<html>login</html>', 'ForeignAnswer'],
    ['the way to a login page', 302, 'text/html', '', 'ForeignAnswer'],
    ['nothing, with status 200', 200, 'application/x-amz-json-1.0', '', 'ForeignAnswer'],
    ['an empty object', 200, 'application/json', '{}', 'ForeignAnswer'],
    ['a time-out of a proxy', 408, 'text/plain', '', 'ForeignAnswer'],
  ])('take no answer of another for one of AWS: %s', async (_what, status, type, body, name) => {
    const server = createServer((request, response) => {
      request.resume();
      response.writeHead(status, type === undefined ? {} : { 'content-type': type }).end(body);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as AddressInfo;
    const options = { region: 'eu-west-1', credentials, endpoint: `http://127.0.0.1:${port}`, maxAttempts: 1 };
    const [dynamoDb, iot] = [connectDynamoDb(options), connectIot(options)];
    const gate = createAwsGate({ table: 't', region: async () => 'eu-west-1' });
    const write = new UpdateItemCommand({ TableName: 't', Key: { productId: { S: 'S' } } });
    const outcomes = await Promise.all([
      gate.call('dynamodb:UpdateItem', () => dynamoDb.send(write)).catch((error: unknown) => error),
      gate.call('iot:DescribeEndpoint', () => iot.send(new DescribeEndpointCommand({}))).catch((error) => error),
    ]);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ name });
      if (name !== 'UpstreamThrottled')
        expect(outcome).toMatchObject({
          message: expect.stringContaining(`not of AWS: status ${status}`),
          cure: expect.stringContaining('proxy'),
        });
    }
    for (const client of [dynamoDb, iot]) client.destroy();
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });

  it('hear the time of AWS with each answer, also with an error', async () => {
    const dates: (string | undefined)[] = [];
    const options = {
      region: 'eu-west-1',
      credentials,
      endpoint: aws.httpUrl,
      maxAttempts: 1,
      onDate: (date: string | undefined) => void dates.push(date),
    };
    const key = { productId: { S: 'S' } };
    const missing = connectDynamoDb(options).send(new GetItemCommand({ TableName: 'no-such-table', Key: key }));
    await expect(missing).rejects.toThrow();
    await connectIot(options).send(new DescribeEndpointCommand({ endpointType: 'iot:Data-ATS' }));
    expect(dates).toHaveLength(2);
    for (const date of dates) expect(Math.abs(Date.parse(date ?? '') - Date.now())).toBeLessThan(60_000);
  });

  it.each(['DynamoDB', 'AWS IoT'])('of %s give no token hash, CSR or sealed key to a logger', async (service) => {
    const options = { region: 'eu-west-1', credentials, endpoint: aws.httpUrl };
    const client = service === 'DynamoDB' ? connectDynamoDb(options) : connectIot(options);
    const logger = { trace: vi.fn(), debug: vi.fn(), info: vi.fn(), warn: vi.fn(), error: vi.fn() };
    client.config.logger = logger;
    const key = { productId: { S: 'secret' } };
    await (client instanceof DynamoDBClient
      ? client.send(new GetItemCommand({ TableName: 'no-such-table', Key: key }))
      : client.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest: 'secret' }))
    ).catch(() => undefined);
    const logged = Object.values(logger).flatMap((log) => log.mock.calls);
    expect(JSON.stringify(logged)).not.toContain('secret');
  });

  it('say that nothing listens at the endpoint', async () => {
    const { get } = open('any', { endpoint: 'http://127.0.0.1:1' });
    await expect(get()).rejects.toMatchObject({ name: 'UpstreamUnreachable' });
  });

  it('say within seconds that there are no credentials, and where they can come from', async () => {
    for (const name of ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_PROFILE', 'AWS_SESSION_TOKEN'])
      vi.stubEnv(name, undefined);
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    vi.stubEnv('AWS_CONFIG_FILE', join(dataDir, 'none'));
    vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', join(dataDir, 'none'));
    const client = connectIot({ region: 'eu-west-1', endpoint: aws.httpUrl });
    const gate = createAwsGate({ table: 't', region: () => client.config.region() });
    await expect(
      gate.call('iot:DescribeEndpoint', () => client.send(new DescribeEndpointCommand({}))),
    ).rejects.toMatchObject({ name: 'UpstreamUnreachable', cure: expect.stringContaining('AWS_PROFILE') });
    vi.unstubAllEnvs();
  });

  it('say that no region is set', async () => {
    vi.stubEnv('AWS_REGION', undefined);
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    vi.stubEnv('AWS_CONFIG_FILE', join(dataDir, 'none'));
    const client = connectDynamoDb({ credentials });
    const gate = createAwsGate({ table: 't', region: () => client.config.region() });
    await expect(
      gate.call('dynamodb:GetItem', () =>
        client.send(new GetItemCommand({ TableName: 't', Key: { productId: { S: 'S' } } })),
      ),
    ).rejects.toMatchObject({ name: 'UpstreamRefused', cure: expect.stringContaining('AWS_REGION') });
    vi.unstubAllEnvs();
  });
});

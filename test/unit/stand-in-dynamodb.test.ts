import { existsSync, mkdtempSync, readdirSync, realpathSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  ListTablesCommand,
  PutItemCommand,
} from '@aws-sdk/client-dynamodb';
import { afterEach, expect, it, onTestFinished, vi } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';
import { fillDiskBelow } from '../support/full-file.ts';

afterEach(() => vi.unstubAllEnvs());

it('the stand-in hands DynamoDB calls on where a test run names another DynamoDB, with tables of its own for each data folder', async () => {
  const callers: string[] = [];
  const other = createServer((request, response) => {
    callers.push(/Credential=([^/]*)/.exec(request.headers.authorization ?? '')?.[1] ?? '');
    request.resume().on('end', () => response.end(JSON.stringify({ TableNames: ['theirs'] })));
  });
  await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => void other.close());
  vi.stubEnv('STAND_IN_DYNAMODB_URL', `http://127.0.0.1:${(other.address() as { port: number }).port}`);
  for (const _each of ['one', 'two']) {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-forward-'));
    const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    expect((await client.send(new ListTablesCommand())).TableNames).toEqual(['theirs']);
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true });
  }
  expect(callers).toEqual([expect.stringMatching(/^[0-9a-f]{20}$/), expect.stringMatching(/^[0-9a-f]{20}$/)]);
  expect(callers[0]).not.toBe(callers[1]);
});

/** Sends a call as a client that goes away before its whole body has come does, or one that sends it whole. @returns the first line of the answer */
function call(url: string, { operation, body, bytes }: { operation: string; body: string; bytes: number }) {
  const head = [
    'POST / HTTP/1.1',
    'host: localhost',
    `x-amz-target: DynamoDB_20120810.${operation}`,
    'x-amz-date: 20260101T000000Z',
    'authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=x',
    'content-type: application/x-amz-json-1.0',
    `content-length: ${bytes}`,
  ].join('\r\n');
  return new Promise<string>((resolve) => {
    let heard = '';
    const socket = connect(Number(new URL(url).port), '127.0.0.1');
    socket.on('error', () => {}).once('close', () => resolve(heard));
    socket.on('data', (bytesRead) => {
      heard = bytesRead.toString().split('\r\n')[0] ?? '';
      socket.destroy();
    });
    socket.write(`${head}\r\n\r\n${body}`, () => {
      // when the server has read what there is
      if (body.length < bytes) setTimeout(() => socket.resetAndDestroy(), 50);
    });
  });
}

it.each(['PutItem', 'UpdateTable', 'TransactWriteItems', 'DescribeTimeToLive'])(
  'the stand-in goes on when a client goes away in the middle of a %s, or sends what is no object',
  async (operation) => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-cut-'));
    const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    onTestFinished(async () => {
      await aws.close();
      rmSync(dataDir, { recursive: true });
    });
    expect(await call(aws.httpUrl, { operation, body: '{"TableName":', bytes: 100 })).toBe('');
    for (const body of ['null', '7', '{"TableName":'])
      expect(await call(aws.httpUrl, { operation, body, bytes: body.length })).toBe('HTTP/1.1 400 Bad Request');
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    expect((await client.send(new ListTablesCommand())).TableNames).toEqual([]);
    client.destroy();
  },
);

it.skipIf(!existsSync('/dev/full'))(
  'the stand-in answers with an error while the disk is full, and goes on',
  async () => {
    const dataDir = realpathSync(mkdtempSync(join(tmpdir(), 'cvm-full-')));
    const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    onTestFinished(async () => {
      await aws.close();
      rmSync(dataDir, { recursive: true });
    });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials, maxAttempts: 1 });
    onTestFinished(() => client.destroy());
    const [TableName, key] = ['devices', 'serial'];
    await client.send(
      new CreateTableCommand({
        TableName,
        AttributeDefinitions: [{ AttributeName: key, AttributeType: 'S' }],
        KeySchema: [{ AttributeName: key, KeyType: 'HASH' }],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    );
    const put = (serial: string) => client.send(new PutItemCommand({ TableName, Item: { [key]: { S: serial } } }));
    // a table takes a moment until it is there
    await expect.poll(() => put('early').then(() => 'stored', String)).toBe('stored');
    const folder = join(dataDir, 'dynamodb');
    onTestFinished(fillDiskBelow(join(folder, readdirSync(folder).find((name) => name.endsWith('.log')) ?? '')));
    await expect(put('late')).rejects.toMatchObject({ name: 'InternalServerError' });
    const read = await client.send(new GetItemCommand({ TableName, Key: { [key]: { S: 'early' } } }));
    expect(read.Item).toEqual({ [key]: { S: 'early' } });
  },
);

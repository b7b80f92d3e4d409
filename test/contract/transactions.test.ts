import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateTableCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  TransactionCanceledException,
  type TransactWriteItem,
  TransactWriteItemsCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';

const TableName = 'rows';
const dataDir = mkdtempSync(join(tmpdir(), 'cvm-transactions-'));
let aws: AwsLocal;
let client: DynamoDBClient;

beforeAll(async () => {
  aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
  client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
  const key = [{ AttributeName: 'k', AttributeType: 'S' as const }];
  await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      AttributeDefinitions: key,
      KeySchema: [{ AttributeName: 'k', KeyType: 'HASH' }],
    }),
  );
  await waitUntilTableExists({ client, maxWaitTime: 45, minDelay: 1 }, { TableName });
});
afterAll(async () => {
  client.destroy();
  await aws.close();
  rmSync(dataDir, { recursive: true, force: true });
});

const Key = (k: string) => ({ k: { S: k } });
const find = async (k: string) =>
  (await client.send(new GetItemCommand({ TableName, Key: Key(k), ConsistentRead: true }))).Item;
const write = (TransactItems: TransactWriteItem[], ClientRequestToken?: string) =>
  client.send(new TransactWriteItemsCommand({ TransactItems, ...(ClientRequestToken ? { ClientRequestToken } : {}) }));
const update = (k: string, n: string, ConditionExpression?: string): TransactWriteItem => ({
  Update: {
    TableName,
    Key: Key(k),
    UpdateExpression: 'SET n = :n',
    ExpressionAttributeValues: { ':n': { N: n } },
    ...(ConditionExpression === undefined ? {} : { ConditionExpression }),
  },
});
const absent = 'attribute_not_exists(k)';
const present = 'attribute_exists(k)';

/** What https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html says. */
describe('a transaction of DynamoDB', () => {
  it('writes all of its items: put, update, delete, under a condition on another', async () => {
    for (const k of ['a1', 'a2']) await client.send(new PutItemCommand({ TableName, Item: Key(k) }));
    await write([
      { Put: { TableName, Item: Key('a3') } },
      update('a4', '4', absent),
      { Delete: { TableName, Key: Key('a1') } },
      { ConditionCheck: { TableName, Key: Key('a2'), ConditionExpression: present } },
    ]);
    expect(await Promise.all(['a1', 'a2', 'a3', 'a4'].map(find))).toEqual([
      undefined,
      Key('a2'),
      Key('a3'),
      { ...Key('a4'), n: { N: '4' } },
    ]);
  });

  it('writes nothing when a condition does not hold, and says of each item why, in order', async () => {
    await client.send(new PutItemCommand({ TableName, Item: { ...Key('b1'), n: { N: '1' } } }));
    const given = { ...update('b1', '2', absent).Update, ReturnValuesOnConditionCheckFailure: 'ALL_OLD' as const };
    const error = await write([update('b2', '2'), { Update: given as never }, update('b3', '2', present)]).catch(
      (thrown: unknown) => thrown,
    );
    expect(error).toBeInstanceOf(TransactionCanceledException);
    const { CancellationReasons: reasons = [] } = error as TransactionCanceledException;
    expect(reasons.map(({ Code }) => Code)).toEqual(['None', 'ConditionalCheckFailed', 'ConditionalCheckFailed']);
    expect(reasons[1]?.Item).toEqual({ ...Key('b1'), n: { N: '1' } });
    expect([await find('b1'), await find('b2')]).toEqual([{ ...Key('b1'), n: { N: '1' } }, undefined]);
  });

  it('is carried out once for a token, and refused for another transaction with it', async () => {
    const add = (k: string): TransactWriteItem => ({
      Update: { TableName, Key: Key(k), UpdateExpression: 'ADD n :n', ExpressionAttributeValues: { ':n': { N: '1' } } },
    });
    for (const _time of [1, 2]) await write([add('c')], 'token');
    expect(await find('c')).toEqual({ ...Key('c'), n: { N: '1' } });
    await expect(write([add('d')], 'token')).rejects.toMatchObject({ name: 'IdempotentParameterMismatchException' });
  });

  it('is never half seen, whatever is written at once', async () => {
    const both = (n: string) => write([update('e1', n), update('e2', n)]).catch(() => undefined);
    await Promise.all(Array.from({ length: 20 }, (_none, n) => both(String(n))));
    const [one, other] = await Promise.all(['e1', 'e2'].map(find));
    expect(one?.n).toEqual(other?.n);
    expect(one?.n).toBeDefined();
  });

  it('has 1 to 100 actions, each on an item of its own', async () => {
    const many = Array.from({ length: 101 }, (_none, index) => update(`f${index}`, '1'));
    for (const wrong of [[], many, [update('g', '1'), update('g', '2')], [{}]])
      await expect(write(wrong)).rejects.toMatchObject({ name: 'ValidationException' });
    await write(many.slice(1));
    expect([await find('f0'), await find('f100')]).toEqual([undefined, { ...Key('f100'), n: { N: '1' } }]);
  });
});

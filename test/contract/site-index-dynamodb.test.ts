import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateTableCommand,
  DynamoDBClient,
  PutItemCommand,
  UpdateTableCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { hashToken } from '../../protocol/token.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { openTable } from '../support/association-table.ts';
import { newGateway } from '../support/trust.ts';
import { siteIndexContract } from './site-index-suite.ts';

const dataDir = mkdtempSync(join(tmpdir(), 'cvm-index-'));
let aws: AwsLocal;
let client: DynamoDBClient;
beforeAll(async () => {
  aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
  client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
});
afterAll(async () => {
  client.destroy();
  await aws.close();
  rmSync(dataDir, { recursive: true, force: true });
});

siteIndexContract('DynamoDB', async () => {
  const { table } = openTable(client, 'devices');
  await ensureTable(table);
  const clock = { now: 1_700_000_000_000 };
  return {
    table: createAssociationTable(table, undefined, () => clock.now),
    clock,
    put: async (Item) => void (await client.send(new PutItemCommand({ TableName: 'devices', Item }))),
    close: async () => {},
  };
});

describe('setting up a table that is there without the index', () => {
  const key = [{ AttributeName: 'productId', AttributeType: 'S' as const }];
  async function create(name: string): Promise<void> {
    await client.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: 'productId', KeyType: 'HASH' }],
        AttributeDefinitions: key,
      }),
    );
    await waitUntilTableExists({ client, maxWaitTime: 45, minDelay: 1, maxDelay: 1 }, { TableName: name });
  }
  const tokenHash = hashToken('the-token-of-the-device');

  it('adds no index unless it is told to, fills a new one from the rows that are there, and is safe to repeat', async () => {
    await create('older');
    const { table, registry, sites, gateways } = openTable(client, 'older');
    await gateways.record([{ gateway: newGateway().identity, at: 0 }], 0, 'north');
    await registry.enrol({ serial: 'S', tokenHash, enrolledAt: 0, site: 'north' });
    const without = { table: 'exists', index: 'missing' };
    for (const _twice of [1, 2]) expect(await ensureTable(table)).toMatchObject(without);
    expect(await sites.isUsed()).toBe(false);
    await expect(sites.list('north')[Symbol.asyncIterator]().next()).rejects.toMatchObject({
      cure: expect.stringMatching(/has no index "cvm-site".*cvm aws setup/),
    });
    const waits: number[] = [];
    const added = await ensureTable(table, { addIndex: true, onWait: (ms) => waits.push(ms) });
    expect(added).toMatchObject({ table: 'exists', index: 'created' });
    expect(await ensureTable(table, { addIndex: true })).toMatchObject({ table: 'exists', index: 'exists' });
    expect(await sites.isUsed()).toBe(true);
    const found = [];
    for await (const device of sites.list('north')) found.push(device.serial);
    expect(found).toEqual(['S']);
  });

  it('says what differs in an index of this name, and the cure', async () => {
    await create('strange');
    await addIndex('strange', [{ AttributeName: 'place', KeyType: 'HASH' }], { ProjectionType: 'ALL' });
    await expect(ensureTable(openTable(client, 'strange').table)).rejects.toThrow(
      /index "cvm-site" has the keys place, and must have site, changedAt: delete it/,
    );
  });

  it.each([
    ['keys', { ProjectionType: 'KEYS_ONLY' }, /lacks the attributes accessToken, sealedKeys, .*: delete it/],
    ['some', { ProjectionType: 'INCLUDE', NonKeyAttributes: ['accessToken'] }, /lacks the attributes sealedKeys, /],
  ] as const)('says which attributes an index of this name lacks: %s', async (what, projection, message) => {
    await create(`lacking-${what}`);
    const keys = [
      { AttributeName: 'site', KeyType: 'HASH' },
      { AttributeName: 'changedAt', KeyType: 'RANGE' },
    ] as const;
    await addIndex(`lacking-${what}`, keys, projection);
    await expect(ensureTable(openTable(client, `lacking-${what}`).table)).rejects.toThrow(message);
  });

  async function addIndex(
    table: string,
    keys: readonly { AttributeName: string; KeyType: 'HASH' | 'RANGE' }[],
    {
      ProjectionType,
      NonKeyAttributes,
    }: { ProjectionType: 'ALL' | 'KEYS_ONLY' | 'INCLUDE'; NonKeyAttributes?: readonly string[] },
  ): Promise<void> {
    const typed = keys.map(({ AttributeName, KeyType }) => ({
      AttributeName,
      AttributeType: KeyType === 'HASH' ? ('S' as const) : ('N' as const),
    }));
    const Projection = {
      ProjectionType,
      ...(NonKeyAttributes === undefined ? {} : { NonKeyAttributes: [...NonKeyAttributes] }),
    };
    await client.send(
      new UpdateTableCommand({
        TableName: table,
        AttributeDefinitions: [...key, ...typed],
        GlobalSecondaryIndexUpdates: [{ Create: { IndexName: 'cvm-site', KeySchema: [...keys], Projection } }],
      }),
    );
  }
});

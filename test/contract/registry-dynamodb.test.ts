import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateTableCommand, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { awsErrorName } from '../../aws/errors.ts';
import type { AwsGate } from '../../aws/gate.ts';
import { startAwsLocal } from '../../aws-local/main.ts';
import { hashToken } from '../../protocol/token.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { type DynamoTable, openDynamoTable } from '../../registry/dynamodb/table.ts';
import { openTable } from '../support/association-table.ts';
import { registryContract } from './registry-suite.ts';

async function open() {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-registry-'));
  const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  const client = new DynamoDBClient({
    region: 'us-east-1',
    endpoint: aws.httpUrl,
    credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
  });
  const { table, registry } = openTable(client, 'devices');
  await ensureTable(table);
  return {
    aws,
    client,
    table,
    registry,
    async close() {
      client.destroy();
      await aws.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

registryContract('DynamoDB', open);

it('a claim whose answer was lost is taken up again by the call that the SDK repeats', async () => {
  const { aws, registry, close } = await open();
  await registry.enrol({ serial: 'S', tokenHash: hashToken('t'), enrolledAt: 0 });
  aws.faults.set([{ operation: 'DynamoDB.UpdateItem', kind: 'act-and-lose-answer', times: 1 }]);
  expect(await registry.claim({ serial: 'S', tokenHash: hashToken('t'), now: 1, leaseMs: 1000 })).toMatchObject({
    outcome: 'claimed',
    device: { attempt: 2 },
  });
  await close();
});

it('setting the table up twice is setting it up once', async () => {
  const { table, close } = await open();
  expect(await ensureTable(table)).toMatchObject({ table: 'exists', index: 'exists' });
  await close();
});

it.each([
  ['another partition key', [['orderId', 'S']], /its key is "orderId" \(a string\), and must be "productId"/],
  ['a key that is no string', [['productId', 'N']], /its key is "productId" \(a number\)/],
  [
    'a sort key',
    [
      ['productId', 'S'],
      ['at', 'N'],
    ],
    /"productId" \(a string\) with the sort key "at" \(a number\)/,
  ],
] as const)(
  'setting up says what differs in a table of this name with %s, and the cure',
  async (_what, keys, differs) => {
    const { client, close } = await open();
    await client.send(
      new CreateTableCommand({
        TableName: 'orders',
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: keys.map(([AttributeName], index) => ({ AttributeName, KeyType: index === 0 ? 'HASH' : 'RANGE' })),
        AttributeDefinitions: keys.map(([AttributeName, AttributeType]) => ({ AttributeName, AttributeType })),
      }),
    );
    const setUp = ensureTable(openTable(client, 'orders').table);
    await expect(setUp).rejects.toThrow(differs);
    await expect(setUp).rejects.toThrow(/CVM_TABLE/);
    await close();
  },
);

it('setting up says at once that the KMS key of the table cannot be used', async () => {
  const keys = [{ attribute: 'productId', type: 'S' }];
  const describe = async () => ({ name: 'devices', status: 'INACCESSIBLE_ENCRYPTION_CREDENTIALS', keys });
  const table = { create: async () => 'exists', describe } as unknown as DynamoTable;
  await expect(ensureTable(table)).rejects.toThrow(/KMS key.*enable the key/);
});

it('the gate sees a condition that did not hold, so metrics can count it', async () => {
  const { client, close } = await open();
  const seen: string[] = [];
  const gate: AwsGate = {
    async call(operation, send) {
      return send().catch((error: unknown) => {
        seen.push(`${operation} ${awsErrorName(error)}`);
        throw error;
      });
    },
  };
  const { registry } = createAssociationTable(openDynamoTable(client, 'devices', gate));
  const device = { serial: 'S', tokenHash: hashToken('t'), enrolledAt: 0 };
  expect(await registry.enrol(device)).toBe(true);
  expect(await registry.enrol({ ...device, enrolledAt: 1 })).toBe(false);
  expect(await registry.release({ serial: 'S', claimId: 'none' })).toBe(false);
  expect(seen).toEqual([
    'dynamodb:PutItem ConditionalCheckFailedException',
    'dynamodb:UpdateItem ConditionalCheckFailedException',
  ]);
  await close();
});

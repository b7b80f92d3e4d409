import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';
import { hashToken } from '../../protocol/token.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
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
  expect(await ensureTable(table)).toBe('exists');
  await close();
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { openTable } from '../support/association-table.ts';
import { newGateway } from '../support/trust.ts';
import { gatewaysContract } from './gateways-suite.ts';

async function start() {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-gateways-'));
  const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
  const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
  let count = 0;
  return {
    aws,
    client,
    async open(name = `devices-${++count}`) {
      const { table, gateways } = openTable(client, name);
      await ensureTable(table);
      return gateways;
    },
    async close() {
      client.destroy();
      await aws.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

gatewaysContract('DynamoDB', start);

it('a change whose answer was lost is known to be ours: it is decided, and recorded, once', async () => {
  const { aws, open, close } = await start();
  const [gateways, { identity }] = [await open(), newGateway()];
  const lose = () => aws.faults.set([{ operation: 'DynamoDB.UpdateItem', kind: 'act-and-lose-answer', times: 1 }]);
  lose();
  expect((await gateways.record([{ gateway: identity, at: 1 }], 1)).approved?.id).toBe(identity.id);
  lose();
  expect(await gateways.forget(identity.id)).toBe(true);
  await close();
});

it('gateways that version 0.1.0 wrote down cannot sign, and count for nothing: the first that can is approved by itself', async () => {
  const { client, open, close } = await start();
  const gateways = await open('devices');
  const earlier = { publicKey: { S: newGateway().identity.publicKey }, seenAt: { N: '1' } };
  const item = { productId: { S: '#gateways' }, 'gateway-0123456789abcdef': { M: earlier } };
  await client.send(new PutItemCommand({ TableName: 'devices', Item: item }));
  expect(await gateways.known()).toEqual([]);
  const { identity } = newGateway();
  expect((await gateways.record([{ gateway: identity, at: 1 }], 1)).approved?.id).toBe(identity.id);
  await close();
});

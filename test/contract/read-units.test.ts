import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient, GetItemCommand, PutItemCommand, QueryCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { expect, it } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { siteIndex } from '../../registry/dynamodb/site-index.ts';
import type { Item } from '../../registry/dynamodb/table.ts';
import { createReadMeter } from '../bench/read-units.ts';
import { openTable } from '../support/association-table.ts';

it('the read units that the bench counts are those that DynamoDB says it charges', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-units-'));
  const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
  const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
  const client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
  const { table } = openTable(client, 'devices');
  await ensureTable(table);
  const item = (serial: string, length: number): Item => ({
    productId: { S: serial },
    site: { S: 'one' },
    changedAt: { N: '1700000000000' },
    accessToken: { S: 't'.repeat(length) },
    applyState: { N: '-1' },
    keptReply: { B: Buffer.alloc(length) },
    sealedKeys: { M: { gateway: { S: 's'.repeat(150) } } },
    condemned: { SS: ['a', 'b'] },
  });
  const lengths = [10, 1000, 1900, 2000, 4000, 6000];
  for (const length of lengths)
    await client.send(new PutItemCommand({ TableName: 'devices', Item: item(`SN-${length}`, length) }));

  const meter = createReadMeter(table);
  const more = { TableName: 'devices', ReturnConsumedCapacity: 'TOTAL' } as const;
  const drained = async (rows: AsyncIterable<unknown>) => {
    for await (const _row of rows);
  };
  for (const length of lengths)
    for (const consistent of [true, false]) {
      const serial = `SN-${length}`;
      await (consistent ? meter.table.get(serial) : meter.table.glance(serial));
      const Key = { productId: { S: serial } };
      const said = await client.send(new GetItemCommand({ ...more, Key, ConsistentRead: consistent }));
      expect(meter.take().units).toBe(said.ConsumedCapacity?.CapacityUnits);
    }
  await drained(meter.table.query({ index: siteIndex.name, partition: ['site', 'one'] }));
  const queried = await client.send(
    new QueryCommand({
      ...more,
      IndexName: siteIndex.name,
      KeyConditionExpression: 'site = :s',
      ExpressionAttributeValues: { ':s': { S: 'one' } },
    }),
  );
  expect(meter.take().units).toBe(queried.ConsumedCapacity?.CapacityUnits);
  await drained(meter.table.scan());
  // dynalite counts half, whatever was asked for
  const scanned = await client.send(new ScanCommand(more));
  expect(meter.take().units).toBe(2 * (scanned.ConsumedCapacity?.CapacityUnits ?? 0));

  client.destroy();
  await aws.close();
  rmSync(dataDir, { recursive: true, force: true });
});

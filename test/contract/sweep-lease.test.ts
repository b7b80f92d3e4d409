import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { openTable } from '../support/association-table.ts';

describe('the lease of the sweeper', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-lease-'));
  let aws: AwsLocal;
  let client: DynamoDBClient;
  beforeAll(async () => {
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    await ensureTable(openTable(client, 'devices').table);
  });
  afterAll(async () => {
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('has one holder at a time, which may extend it, until it ends or is given back', async () => {
    const { lease } = openTable(client, 'devices');
    const first = await Promise.all(['a', 'b', 'c'].map((holder) => lease.take(holder, 1000, 100)));
    expect(first.filter((held) => held)).toHaveLength(1);
    const holder = ['a', 'b', 'c'][first.indexOf(true)] ?? '';
    expect(await lease.take(holder, 1050, 100)).toBe(true);
    expect(await lease.take('d', 1149, 100)).toBe(false);
    expect(await lease.take('d', 1150, 100)).toBe(true);
    await lease.release(holder);
    expect(await lease.take('e', 1160, 100)).toBe(false);
    await lease.release('d');
    expect(await lease.take('e', 1160, 100)).toBe(true);
    await lease.release('e');
  });

  it('is not given to one who would sweep too soon after the last sweep began', async () => {
    const { lease } = openTable(client, 'devices');
    expect(await lease.take('f', 2000, 100)).toBe(true);
    await lease.release('f');
    expect(await lease.take('g', 2999, 100, 1000)).toBe(false);
    expect(await lease.take('g', 3000, 100, 1000)).toBe(true);
  });

  it('is free, and a sweep is due, where only a clock that was hours ahead can have written the times', async () => {
    const { lease } = openTable(client, 'devices');
    const ahead = 1_000_000;
    expect(await lease.take('dead', ahead, 100)).toBe(true);
    // a worker whose clock is behind by a little still respects it
    expect(await lease.take('near', ahead - 90, 100)).toBe(false);
    expect(await lease.take('after', 500_000, 100, 1000)).toBe(true);
    expect(await lease.take('later', 500_150, 100, 1000)).toBe(false);
    await lease.release('after');
  });

  it('is no device', async () => {
    const serials: string[] = [];
    for await (const { serial } of openTable(client, 'devices').registry.list()) serials.push(serial);
    expect(serials).toEqual([]);
  });
});

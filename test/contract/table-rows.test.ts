import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { createDynamoChanges } from '../../registry/changes.ts';
import { createDynamoRegistry } from '../../registry/dynamodb.ts';
import { createDynamoGateways } from '../../registry/gateways.ts';
import { ensureTable } from '../../registry/setup.ts';

const [table, day] = ['devices', 86_400_000];

describe('rows of the table that are no devices', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-rows-'));
  let aws: AwsLocal;
  let client: DynamoDBClient;
  beforeAll(async () => {
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    await ensureTable(client, table);
  });
  afterAll(async () => {
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('gateways are known until they have not been seen for a month', async () => {
    const gateways = createDynamoGateways(client, table);
    expect(await gateways.known(0)).toEqual([]);
    await gateways.record({ id: 'a', publicKey: 'A' }, day);
    await gateways.record({ id: 'b', publicKey: 'B' }, 20 * day);
    await gateways.record({ id: 'b', publicKey: 'B' }, 21 * day);
    expect(await gateways.known(22 * day)).toEqual([
      { id: 'a', publicKey: 'A', seenAt: day },
      { id: 'b', publicKey: 'B', seenAt: 21 * day },
    ]);
    expect(await gateways.known(31 * day)).toEqual([{ id: 'b', publicKey: 'B', seenAt: 21 * day }]);
  });

  it('a gateway that was forgotten is not brought back by what it said before, but by what it says later', async () => {
    const gateways = createDynamoGateways(client, table);
    const stolen = { id: 'stolen', publicKey: 'S' };
    const ids = async () => (await gateways.known(26 * day)).map(({ id }) => id);
    expect(await gateways.forget('nobody', 25 * day)).toBe(false);
    await gateways.record(stolen, 25 * day);
    expect(await gateways.forget('stolen', 25 * day + 1)).toBe(true);
    expect(await gateways.forget('stolen', 25 * day + 1)).toBe(false);
    await gateways.record(stolen, 25 * day);
    expect(await ids()).toEqual(['a', 'b']);
    await gateways.record(stolen, 25 * day + 2);
    expect(await ids()).toEqual(['a', 'b', 'stolen']);
    // the clock of a gateway may be ahead of the operator's
    expect(await gateways.forget('stolen', 24 * day)).toBe(true);
    await gateways.record(stolen, 25 * day + 2);
    expect(await ids()).toEqual(['a', 'b']);
  });

  it('announcements are numbered without a gap, whoever makes them, and name each serial once', async () => {
    const changes = createDynamoChanges(client, table);
    expect(await changes.latest()).toBe(0);
    await changes.announce(['one', 'two', 'one']);
    await Promise.all(['a', 'b', 'c', 'd'].map((serial) => changes.announce([serial])));
    expect(await changes.latest()).toBe(5);
    expect([...(await changes.read(1))].sort()).toEqual(['one', 'two']);
    const rest = await Promise.all([2, 3, 4, 5].map((number) => changes.read(number)));
    expect(rest.flat().sort()).toEqual(['a', 'b', 'c', 'd']);
    expect(await changes.read(6)).toBe('not-yet');
  });

  it('an announcement is overwritten when a thousand others have followed', async () => {
    const changes = createDynamoChanges(client, table);
    const before = await changes.latest();
    await changes.announce(Array.from({ length: 1500 }, (_, index) => `many-${index}`));
    expect(await changes.latest()).toBe(before + 2);
    for (let start = 0; start < 1000; start += 50)
      await Promise.all(Array.from({ length: 50 }, (_, index) => changes.announce([`s${start + index}`])));
    expect(await changes.read(before + 1)).toBe('overwritten');
  }, 60_000);

  it('none of them is a device', async () => {
    const serials: string[] = [];
    for await (const { serial } of createDynamoRegistry(client, table).list()) serials.push(serial);
    expect(serials).toEqual([]);
  });
});

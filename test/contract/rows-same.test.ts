import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { hashToken } from '../../protocol/token.ts';
import type { Device } from '../../registry/device.ts';
import { deviceAttributes, deviceOf } from '../../registry/dynamodb/device-attributes.ts';
import { dynamoRows } from '../../registry/dynamodb/rows.ts';
import { ensureTable } from '../../registry/dynamodb/setup.ts';
import { memoryRows } from '../../registry/memory.ts';
import { all, any, type Condition, conditionsOn, type Rows, type Update } from '../../registry/rows.ts';
import { openTable } from '../support/association-table.ts';

/** Few values, so that conditions often hold. */
const [id, ids, time] = [fc.constantFrom('a', 'b'), fc.subarray(['a', 'b', 'c']), fc.integer({ min: 1, max: 3 })];
const maybe = <T>(value: fc.Arbitrary<T>) => fc.option(value, { nil: undefined });
const state = fc.constantFrom('enrolled' as const, 'provisioning' as const, 'registered' as const, 'blocked' as const);

const where = conditionsOn<Device>();
const number = fc.constantFrom('attempt' as const, 'leaseUntil' as const);
const set = fc.constantFrom('pendingDeletion' as const, 'deleted' as const);
const text = fc.constantFrom('certificateId' as const, 'previousCertificateId' as const);

const values = fc.record(
  { state, attempt: time, leaseUntil: maybe(time), certificateId: maybe(id), previousCertificateId: maybe(id) },
  { requiredKeys: [] },
);
const { condition } = fc.letrec<{ condition: Condition<Device> }>((tie) => ({
  condition: fc.oneof(
    { maxDepth: 2 },
    values.filter((wanted) => Object.keys(wanted).length > 0).map(where.is),
    fc.tuple(text, id).map(([property, value]) => where.isNot(property, value)),
    fc.tuple(number, time).map(([property, limit]) => where.isAtMost(property, limit)),
    fc.tuple(number, time).map(([property, limit]) => where.isAbove(property, limit)),
    fc.tuple(set, id).map(([property, member]) => where.includes(property, member)),
    fc.tuple(set, id).map(([property, member]) => where.excludes(property, member)),
    time.map((entries) => where.hasFewerThan(entries, 'numberedIntents')),
    fc.array(tie('condition'), { minLength: 1, maxLength: 3 }).map((conditions) => all(...conditions)),
    fc.array(tie('condition'), { minLength: 1, maxLength: 3 }).map((conditions) => any(...conditions)),
  ),
}));

const intents = fc.dictionary(fc.constantFrom('1', '2'), maybe(time.map((at) => ({ at }))), { noNullPrototype: true });
const update: fc.Arbitrary<Update<Device>> = fc.record(
  {
    set: values,
    setIfMissing: fc.record({ issuedAt: time, deliveredAt: time }, { requiredKeys: [] }),
    increase: fc.record({ enrolledAt: time }, { requiredKeys: [] }),
    setEntries: fc.record({ numberedIntents: intents }, { requiredKeys: [] }),
    include: fc.record({ pendingDeletion: ids }, { requiredKeys: [] }),
    exclude: fc.record({ deleted: ids }, { requiredKeys: [] }),
  },
  { requiredKeys: [] },
);

describe('a store in memory and one in DynamoDB', () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-same-'));
  let aws: AwsLocal;
  let client: DynamoDBClient;
  let stored: Rows<Device>;
  let count = 0;
  beforeAll(async () => {
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off' });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    client = new DynamoDBClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
    const { table } = openTable(client, 'devices');
    await ensureTable(table);
    stored = dynamoRows(table, deviceAttributes, deviceOf);
  });
  afterAll(async () => {
    client.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('give every condition and every update the same meaning', async () => {
    const outcomes = { held: 0, refused: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(update, condition), { minLength: 1, maxLength: 8 }), async (writes) => {
        const serial = `SN:${++count}`;
        const kept = memoryRows(new Map<string, Device>());
        const row: Device = {
          serial,
          tokenHash: hashToken('h'),
          state: 'enrolled',
          requestedAt: 1,
          enrolledAt: 1,
          attempt: 1,
        };
        // the map is there, as a claim leaves it
        for (const rows of [kept, stored]) {
          expect(await rows.put(serial, row, where.isMissing('serial'))).toBe(true);
          await rows.update(serial, { setIfMissing: { numberedIntents: {} } });
        }
        for (const [change, when] of writes) {
          const held = await kept.update(serial, change, when);
          expect(await stored.update(serial, change, when)).toBe(held);
          expect(normal(await stored.find(serial))).toEqual(normal(await kept.find(serial)));
          outcomes[held ? 'held' : 'refused']++;
        }
      }),
      { numRuns: 150, seed: 1 },
    );
    expect(Math.min(outcomes.held, outcomes.refused)).toBeGreaterThan(100);
  });
});

/** Sets have no order; a registered row without `issuedAt` is read as one of the reference design. */
function normal(row: Device | undefined) {
  if (row === undefined) return undefined;
  const { issuedAt: _read, ...rest } = row;
  const sorted = (members: readonly string[] | undefined) => members && [...members].sort();
  return { ...rest, pendingDeletion: sorted(row.pendingDeletion), deleted: sorted(row.deleted) };
}

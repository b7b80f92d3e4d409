import { expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import type { DynamoTable } from '../../registry/dynamodb/table.ts';
import { createMemoryDynamo } from '../fakes/memory-dynamodb.ts';
import { siteIndexContract } from './site-index-suite.ts';

siteIndexContract("DynamoDB's expressions, in this process", async () => {
  const { table, items } = createMemoryDynamo();
  const clock = { now: 1_700_000_000_000 };
  return {
    table: createAssociationTable(table, undefined, () => clock.now),
    clock,
    put: async (item) => void items.set(item.productId?.S ?? '', item),
    close: async () => {},
  };
});

it('a claim for a device of another site makes the same calls as one for a serial that is not enrolled', async () => {
  const { table } = createMemoryDynamo();
  const calls: string[] = [];
  const counted = new Proxy(table, {
    get: (target, method: keyof DynamoTable) => {
      calls.push(method);
      return target[method];
    },
  });
  const { registry } = createAssociationTable(counted);
  const tokenHash = hashToken('the-token-of-the-device');
  await registry.enrol({ serial: 'theirs', tokenHash, enrolledAt: 0, site: 'south' });
  const callsOf = async (serial: string) => {
    calls.length = 0;
    const claim = await registry.claim({ serial, tokenHash, now: 1, leaseMs: 1000, site: 'north' });
    return { claim, calls: [...calls] };
  };
  expect(await callsOf('theirs')).toEqual(await callsOf('nobody'));
});

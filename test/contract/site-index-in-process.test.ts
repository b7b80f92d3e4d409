import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
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

import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { createMemoryDynamo } from '../fakes/memory-dynamodb.ts';
import { registryContract } from './registry-suite.ts';

registryContract("DynamoDB's expressions, in this process", async () => {
  const { registry } = createAssociationTable(createMemoryDynamo().table);
  return { registry, close: async () => {} };
});

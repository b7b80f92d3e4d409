import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { createAwsGate } from '../../aws/gate.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { openDynamoTable } from '../../registry/dynamodb/table.ts';

/** A table behind the gate of the product, and all that is in it. */
export function openTable(client: DynamoDBClient, name: string) {
  const table = openDynamoTable(client, name, createAwsGate({ table: name, region: () => client.config.region() }));
  return { table, ...createAssociationTable(table) };
}

import { type DynamoDBClient, GetItemCommand, PutItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';

/**
 * Which rows were written by those who enrol: so that a gateway learns of a new token in seconds without reading the
 * whole table. Not a promise: a writer may die between its write and its announcement, and who must be right reads the
 * table from time to time.
 */
export interface Changes {
  announce(serials: readonly string[]): Promise<void>;
  /** The number of the latest announcement; 0 before the first. */
  latest(): Promise<number>;
  /**
   * The serials of one announcement; `not-yet` while its writer is between the two writes that it takes, `overwritten`
   * when it is too long ago.
   */
  read(number: number): Promise<readonly string[] | 'not-yet' | 'overwritten'>;
}

/** So many announcements are remembered, of at most so many serials each (an item of DynamoDB holds 400 KB). */
const [remembered, atMost] = [1000, 1000];

/** No serial has a "#" in it, so these rows are nobody's. */
const counter = { S: '#changes' };
const slot = (number: number) => ({ S: `#change:${number % remembered}` });

/** A counter, and a ring of rows that it points into. */
export function createDynamoChanges(client: DynamoDBClient, table: string): Changes {
  async function announceSome(serials: readonly string[]): Promise<void> {
    const { Attributes } = await client.send(
      new UpdateItemCommand({
        TableName: table,
        Key: { productId: counter },
        UpdateExpression: 'ADD announced :one',
        ExpressionAttributeValues: { ':one': { N: '1' } },
        ReturnValues: 'UPDATED_NEW',
      }),
    );
    const number = Number(Attributes?.announced?.N);
    await client.send(
      new PutItemCommand({
        TableName: table,
        Item: { productId: slot(number), announced: { N: String(number) }, serials: { SS: [...serials] } },
      }),
    );
  }

  return {
    async announce(serials) {
      const once = [...new Set(serials)];
      for (let start = 0; start < once.length; start += atMost) await announceSome(once.slice(start, start + atMost));
    },
    async latest() {
      const { Item } = await client.send(
        new GetItemCommand({ TableName: table, Key: { productId: counter }, ConsistentRead: true }),
      );
      return Number(Item?.announced?.N ?? 0);
    },
    async read(number) {
      const { Item } = await client.send(
        new GetItemCommand({ TableName: table, Key: { productId: slot(number) }, ConsistentRead: true }),
      );
      const found = Number(Item?.announced?.N ?? 0);
      if (found === number) return Item?.serials?.SS ?? [];
      return found < number ? 'not-yet' : 'overwritten';
    },
  };
}

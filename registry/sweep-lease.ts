import { type DynamoDBClient, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { conditionHeld } from './conditional-write.ts';

/**
 * One sweeper at a time, across all workers and gateways that share a table. Losing it in the middle of a sweep breaks
 * nothing: a sweeper decides by conditional writes, as everybody does.
 */
export interface SweepLease {
  /**
   * Takes the lease, or extends one's own. False while somebody else holds it, and while the last sweep began less than
   * `everyMs` ago. Times in epoch milliseconds.
   */
  take(holder: string, now: number, leaseMs: number, everyMs?: number): Promise<boolean>;
  release(holder: string): Promise<void>;
}

/** No serial has a "#" in it, so this row is nobody's. */
const key = '#sweep';

/** The lease as a row of the association table. */
export function createDynamoSweepLease(client: DynamoDBClient, table: string): SweepLease {
  const update = (expression: string, condition: string, values: Record<string, string | number>) =>
    client.send(
      new UpdateItemCommand({
        TableName: table,
        Key: { productId: { S: key } },
        UpdateExpression: expression,
        ConditionExpression: condition,
        ExpressionAttributeValues: Object.fromEntries(
          Object.entries(values).map(([name, value]) => [
            name,
            typeof value === 'string' ? { S: value } : { N: String(value) },
          ]),
        ),
      }),
    );
  return {
    async take(holder, now, leaseMs, everyMs = 0) {
      const own = 'claimant = :holder AND leaseUntil > :now';
      const values = { ':holder': holder, ':now': now, ':lease': now + leaseMs };
      if (await conditionHeld(update('SET leaseUntil = :lease', own, values))) return true;
      return conditionHeld(
        update(
          'SET leaseUntil = :lease, claimant = :holder, sweptAt = :now',
          '(attribute_not_exists(leaseUntil) OR leaseUntil <= :now) AND (attribute_not_exists(sweptAt) OR sweptAt <= :due)',
          { ...values, ':due': now - everyMs },
        ),
      );
    },
    async release(holder) {
      await conditionHeld(update('SET leaseUntil = :over', 'claimant = :holder', { ':holder': holder, ':over': 0 }));
    },
  };
}

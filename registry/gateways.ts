import { type DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import type { GatewayKey } from '../sealing/device-keys.ts';

/** The gateways that read this table, for whoever enrols devices to seal to. */
export interface Gateways {
  /** @param now epoch milliseconds; one that has not been seen for `forgottenMs` is not sealed to any more */
  announce(key: GatewayKey, now: number): Promise<void>;
  known(now: number): Promise<GatewayKey[]>;
}

/** A gateway that is gone for so long is gone for good. */
const forgottenMs = 30 * 86_400_000;

/** No serial has a "#" in it, so this row is nobody's. */
const productId = { S: '#gateways' };

/** The gateways as attributes of one row of the association table: they are few. */
export function createDynamoGateways(client: DynamoDBClient, table: string): Gateways {
  return {
    async announce({ id, publicKey }, now) {
      await client.send(
        new UpdateItemCommand({
          TableName: table,
          Key: { productId },
          UpdateExpression: 'SET #gateway = :key',
          ExpressionAttributeNames: { '#gateway': `gateway-${id}` },
          ExpressionAttributeValues: { ':key': { M: { publicKey: { S: publicKey }, seenAt: { N: String(now) } } } },
        }),
      );
    },
    async known(now) {
      const { Item = {} } = await client.send(
        new GetItemCommand({ TableName: table, Key: { productId }, ConsistentRead: true }),
      );
      return Object.entries(Item).flatMap(([name, { M }]) => {
        const publicKey = M?.publicKey?.S;
        if (!name.startsWith('gateway-') || publicKey === undefined) return [];
        if (Number(M?.seenAt?.N ?? 0) <= now - forgottenMs) return [];
        return [{ id: name.slice('gateway-'.length), publicKey }];
      });
    },
  };
}

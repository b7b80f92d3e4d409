import { type DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import type { GatewayKey } from '../sealing/device-keys.ts';
import { conditionHeld } from './conditional-write.ts';

/** `seenAt`: when it last introduced itself, in epoch milliseconds of its own clock. */
export type KnownGateway = GatewayKey & { readonly seenAt: number };

/** The gateways that read this table, for whoever enrols devices to seal to. Times are epoch milliseconds. */
export interface Gateways {
  /** Takes in an introduction, unless the gateway was forgotten since it was made. Repeating it changes nothing. */
  record(key: GatewayKey, seenAt: number): Promise<void>;
  /** Those that were seen in the last `forgottenMs`: to the others nothing is sealed any more. */
  known(now: number): Promise<KnownGateway[]>;
  /**
   * From now on nothing is sealed to this one, until it introduces itself anew. What it said before does not bring it
   * back, however often that is announced. False when it was not known.
   */
  forget(id: string, now: number): Promise<boolean>;
}

/** A gateway that is gone for so long is gone for good. */
const forgottenMs = 30 * 86_400_000;

/** No serial has a "#" in it, so this row is nobody's. */
const productId = { S: '#gateways' };
const prefix = 'gateway-';

/** The gateways as attributes of one row of the association table: they are few. */
export function createDynamoGateways(client: DynamoDBClient, table: string): Gateways {
  async function all(): Promise<KnownGateway[]> {
    const { Item = {} } = await client.send(
      new GetItemCommand({ TableName: table, Key: { productId }, ConsistentRead: true }),
    );
    return Object.entries(Item).flatMap(([name, { M }]) => {
      const publicKey = M?.publicKey?.S;
      if (!name.startsWith(prefix) || publicKey === undefined) return [];
      return [{ id: name.slice(prefix.length), publicKey, seenAt: Number(M?.seenAt?.N ?? 0) }];
    });
  }

  return {
    async record({ id, publicKey }, seenAt) {
      const write = new UpdateItemCommand({
        TableName: table,
        Key: { productId },
        UpdateExpression: 'SET #gateway = :key',
        ConditionExpression: 'attribute_not_exists(#gateway.forgottenAt) OR #gateway.forgottenAt < :seenAt',
        ExpressionAttributeNames: { '#gateway': `${prefix}${id}` },
        ExpressionAttributeValues: {
          ':key': { M: { publicKey: { S: publicKey }, seenAt: { N: String(seenAt) } } },
          ':seenAt': { N: String(seenAt) },
        },
      });
      await conditionHeld(client.send(write));
    },
    async known(now) {
      return (await all()).filter(({ seenAt }) => seenAt > now - forgottenMs);
    },
    async forget(id, now) {
      const gateway = (await all()).find((other) => other.id === id);
      if (gateway === undefined) return false;
      await client.send(
        new UpdateItemCommand({
          TableName: table,
          Key: { productId },
          UpdateExpression: 'SET #gateway = :forgotten',
          ExpressionAttributeNames: { '#gateway': `${prefix}${id}` },
          // its clock may be ahead of ours
          ExpressionAttributeValues: {
            ':forgotten': { M: { forgottenAt: { N: String(Math.max(now, gateway.seenAt)) } } },
          },
        }),
      );
      return true;
    },
  };
}

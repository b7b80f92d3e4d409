import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  ScanCommand,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { claimVerdict } from './claim-rules.ts';
import type { ApplyState, Device, Enrolment, Registry } from './registry.ts';

type Item = Record<string, AttributeValue>;

const S = (text: string): AttributeValue => ({ S: text });
const N = (value: number): AttributeValue => ({ N: String(value) });

/** The write of an attempt counts only while that attempt is the latest and the device is applying. */
const currentAttempt = 'applyState = :applying AND attempt = :attempt';

/** An operator's write counts only while the row is as it was read: every attempt and every such write shows in these three. */
const asRead = 'accessToken = :readToken AND applyState = :readState AND attempt = :readAttempt';

const read = (device: Device): Item => ({
  ':readToken': S(device.tokenHash),
  ':readState': N(device.applyState),
  ':readAttempt': N(device.attempt),
});

/** A claim may be taken. Mirrors `claimVerdict`, which names the reason when it may not. */
const mayClaim =
  'accessToken = :token AND (attribute_not_exists(tokenExpiresAt) OR tokenExpiresAt > :now)' +
  ' AND (applyState = :may OR (applyState = :applying AND (attribute_not_exists(leaseUntil) OR leaseUntil <= :now OR claimant = :claimant)))';

/**
 * The association table in DynamoDB. Every change is one conditional write of one item.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ConditionExpressions.html
 */
export function createDynamoRegistry(client: DynamoDBClient, table: string): Registry {
  const key = (serial: string): Item => ({ productId: S(serial) });

  async function find(serial: string): Promise<Item | undefined> {
    return (await client.send(new GetItemCommand({ TableName: table, Key: key(serial), ConsistentRead: true }))).Item;
  }

  /** One conditional write. @returns false when the condition did not hold */
  async function update(
    serial: string,
    input: Pick<UpdateItemCommandInput, 'UpdateExpression' | 'ConditionExpression' | 'ExpressionAttributeValues'>,
  ): Promise<boolean> {
    return held(client.send(new UpdateItemCommand({ TableName: table, Key: key(serial), ...input })));
  }

  return {
    enrol: (enrolment) =>
      held(
        client.send(
          new PutItemCommand({
            TableName: table,
            Item: itemOf(enrolment),
            ConditionExpression: 'attribute_not_exists(productId)',
          }),
        ),
      ),

    async find(serial) {
      const item = await find(serial);
      return item && deviceOf(item);
    },

    async *list() {
      let from: Item | undefined;
      do {
        const page = await client.send(
          new ScanCommand({
            TableName: table,
            ConsistentRead: true,
            ...(from === undefined ? {} : { ExclusiveStartKey: from }),
          }),
        );
        for (const item of page.Items ?? []) yield deviceOf(item);
        from = page.LastEvaluatedKey;
      } while (from !== undefined);
    },

    async claim(request) {
      // the SDK repeats a call whose answer was lost: it then takes up its own claim
      const claimant = request.claimant ?? randomUUID();
      try {
        const { Attributes } = await client.send(
          new UpdateItemCommand({
            TableName: table,
            Key: key(request.serial),
            UpdateExpression:
              'SET applyState = :applying, #timestamp = :now, leaseUntil = :lease, claimant = :claimant ADD attempt :one',
            ConditionExpression: mayClaim,
            ExpressionAttributeNames: { '#timestamp': 'timestamp' },
            ExpressionAttributeValues: {
              ':applying': N(1),
              ':may': N(0),
              ':token': S(request.tokenHash),
              ':now': N(request.now),
              ':lease': N(request.now + request.leaseMs),
              ':claimant': S(claimant),
              ':one': N(1),
            },
            ReturnValues: 'ALL_NEW',
            ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
          }),
        );
        return { outcome: 'claimed', device: deviceOf(Attributes ?? {}) };
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
        const item = error.Item ?? (await find(request.serial));
        return claimVerdict(item && deviceOf(item), request) ?? { outcome: 'busy', until: request.now };
      }
    },

    record: (serial, attempt, certificateId, keyDigest) =>
      update(serial, {
        UpdateExpression:
          keyDigest === undefined ? 'SET certId = :cert REMOVE keyDigest' : 'SET certId = :cert, keyDigest = :key',
        ConditionExpression: currentAttempt,
        ExpressionAttributeValues: {
          ':applying': N(1),
          ':attempt': N(attempt),
          ':cert': S(certificateId),
          ...(keyDigest === undefined ? {} : { ':key': S(keyDigest) }),
        },
      }),

    finish: (serial, attempt, certificateId, now) =>
      update(serial, {
        UpdateExpression:
          'SET applyState = :registered, issuedAt = if_not_exists(issuedAt, :now) REMOVE leaseUntil, claimant, previousCertId',
        // repeating it is finishing it: the state may be that of the first time
        ConditionExpression: 'applyState IN (:applying, :registered) AND attempt = :attempt AND certId = :cert',
        ExpressionAttributeValues: {
          ':applying': N(1),
          ':registered': N(-1),
          ':attempt': N(attempt),
          ':cert': S(certificateId),
          ':now': N(now),
        },
      }),

    async reopen(device, request) {
      const { now, leaseMs } = request;
      const taken = await update(device.serial, {
        UpdateExpression:
          'SET applyState = :applying, attempt = :next, leaseUntil = :lease, claimant = :claimant REMOVE issuedAt',
        ConditionExpression: 'applyState = :registered AND attempt = :attempt AND attribute_not_exists(deliveredAt)',
        ExpressionAttributeValues: {
          ':applying': N(1),
          ':registered': N(-1),
          ':attempt': N(device.attempt),
          ':next': N(device.attempt + 1),
          ':lease': N(now + leaseMs),
          ':claimant': S(request.claimant ?? randomUUID()),
        },
      });
      if (!taken) return { outcome: 'busy', until: now };
      const { issuedAt: _over, ...rest } = device;
      return {
        outcome: 'claimed',
        device: { ...rest, applyState: 1, attempt: device.attempt + 1, leaseUntil: now + leaseMs },
      };
    },

    acknowledge: (serial, tokenHash, certificateId, now) =>
      update(serial, {
        UpdateExpression: 'SET deliveredAt = if_not_exists(deliveredAt, :now)',
        ConditionExpression: 'applyState = :registered AND accessToken = :token AND certId = :cert',
        ExpressionAttributeValues: {
          ':registered': N(-1),
          ':token': S(tokenHash),
          ':cert': S(certificateId),
          ':now': N(now),
        },
      }),

    release: (serial, attempt) =>
      update(serial, {
        UpdateExpression: 'SET applyState = :may REMOVE leaseUntil, claimant',
        ConditionExpression: currentAttempt,
        ExpressionAttributeValues: { ':applying': N(1), ':may': N(0), ':attempt': N(attempt) },
      }),

    block: (device) =>
      update(device.serial, {
        UpdateExpression: 'SET applyState = :blocked, attempt = :next REMOVE leaseUntil, claimant',
        ConditionExpression: asRead,
        ExpressionAttributeValues: { ...read(device), ':blocked': N(-2), ':next': N(device.attempt + 1) },
      }),

    async unblock(device) {
      if (device.applyState !== -2) return false;
      return update(device.serial, {
        UpdateExpression: 'SET applyState = :back',
        ConditionExpression: asRead,
        ExpressionAttributeValues: { ...read(device), ':back': N(device.issuedAt === undefined ? 0 : -1) },
      });
    },

    reissue(device, tokenHash, tokenExpiresAt) {
      const previous = device.previousCertificateId ?? device.certificateId;
      const set = [
        'accessToken = :newToken',
        'applyState = :may',
        'attempt = :next',
        ...(previous === undefined ? [] : ['previousCertId = :previous']),
        ...(tokenExpiresAt === undefined ? [] : ['tokenExpiresAt = :expiry']),
      ];
      const drop = [
        'certId',
        'keyDigest',
        'issuedAt',
        'deliveredAt',
        'leaseUntil',
        'claimant',
        ...(tokenExpiresAt === undefined ? ['tokenExpiresAt'] : []),
      ];
      return update(device.serial, {
        UpdateExpression: `SET ${set.join(', ')} REMOVE ${drop.join(', ')}`,
        ConditionExpression: asRead,
        ExpressionAttributeValues: {
          ...read(device),
          ':newToken': S(tokenHash),
          ':may': N(0),
          ':next': N(device.attempt + 1),
          ...(previous === undefined ? {} : { ':previous': S(previous) }),
          ...(tokenExpiresAt === undefined ? {} : { ':expiry': N(tokenExpiresAt) }),
        },
      });
    },

    remove: (device) =>
      held(
        client.send(
          new DeleteItemCommand({
            TableName: table,
            Key: key(device.serial),
            ConditionExpression: asRead,
            ExpressionAttributeValues: read(device),
          }),
        ),
      ),
  };
}

/** Whether a conditional write took effect. @throws whatever is not about its condition */
async function held(write: Promise<unknown>): Promise<boolean> {
  try {
    await write;
    return true;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return false;
    throw error;
  }
}

function itemOf(enrolment: Enrolment): Item {
  const { serial, tokenHash, enrolledAt, tokenExpiresAt, policyName, thingTypeName, thingGroupName } = enrolment;
  return {
    productId: S(serial),
    accessToken: S(tokenHash),
    timestamp: N(0),
    applyState: N(0),
    attempt: N(0),
    enrolledAt: N(enrolledAt),
    ...(tokenExpiresAt === undefined ? {} : { tokenExpiresAt: N(tokenExpiresAt) }),
    ...(policyName === undefined ? {} : { policyName: S(policyName) }),
    ...(thingTypeName === undefined ? {} : { thingTypeName: S(thingTypeName) }),
    ...(thingGroupName === undefined ? {} : { thingGroupName: S(thingGroupName) }),
  };
}

/** Rows that the reference design's own tools wrote have the five fields only. */
function deviceOf(item: Item): Device {
  const text = (name: string, as: string = name) => (item[name]?.S === undefined ? {} : { [as]: item[name].S });
  const number = (name: string) => (item[name]?.N === undefined ? {} : { [name]: Number(item[name].N) });
  return {
    serial: item.productId?.S ?? '',
    tokenHash: item.accessToken?.S ?? '',
    applyState: Number(item.applyState?.N ?? 0) as ApplyState,
    requestedAt: Number(item.timestamp?.N ?? 0),
    enrolledAt: Number(item.enrolledAt?.N ?? 0),
    attempt: Number(item.attempt?.N ?? 0),
    ...number('leaseUntil'),
    ...text('claimant'),
    ...text('certId', 'certificateId'),
    ...text('previousCertId', 'previousCertificateId'),
    ...text('keyDigest'),
    ...number('issuedAt'),
    ...number('deliveredAt'),
    ...number('tokenExpiresAt'),
    ...text('policyName'),
    ...text('thingTypeName'),
    ...text('thingGroupName'),
  };
}

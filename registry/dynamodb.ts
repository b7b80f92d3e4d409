import { randomUUID } from 'node:crypto';
import {
  ConditionalCheckFailedException,
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  ScanCommand,
  UpdateItemCommand,
  type UpdateItemCommandInput,
} from '@aws-sdk/client-dynamodb';
import { isSerial } from '../protocol/serial.ts';
import { judgeClaim } from './claim-rules.ts';
import { conditionHeld } from './conditional-write.ts';
import { createsLimit, oldestBeyondLimit } from './creates.ts';
import {
  deviceOf,
  type Item,
  itemOf,
  itemOfCall,
  itemOfOwnKey,
  itemOfSealedKeys,
  N,
  S,
  SS,
  stateAttribute,
} from './dynamodb-item.ts';
import type { Device, Registry } from './registry.ts';

type Change = Pick<
  UpdateItemCommandInput,
  'UpdateExpression' | 'ConditionExpression' | 'ExpressionAttributeValues' | 'ExpressionAttributeNames'
>;

/** The write of an attempt counts only while that attempt is the latest and the device is being provisioned. */
const currentAttempt = 'applyState = :provisioning AND attempt = :attempt';

/** A decision about a row counts only while the row is as it was read: every other decision shows in these four. */
const asRead = ({ certificateId }: Device): string =>
  `accessToken = :readToken AND applyState = :readState AND attempt = :readAttempt AND ${certificateId === undefined ? 'attribute_not_exists(certId)' : 'certId = :readCert'}`;

const read = (device: Device): Item => ({
  ':readToken': S(device.tokenHash),
  ':readState': stateAttribute(device.state),
  ':readAttempt': N(device.attempt),
  ...(device.certificateId === undefined ? {} : { ':readCert': S(device.certificateId) }),
});

/** A claim may be taken. Mirrors `judgeClaim`, which names the reason when it may not. */
const mayClaim =
  'accessToken = :token AND (attribute_not_exists(tokenExpiresAt) OR tokenExpiresAt > :now)' +
  ' AND (applyState = :enrolled OR (applyState = :provisioning AND (attribute_not_exists(leaseUntil) OR leaseUntil <= :now OR claimant = :claimant)))';

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
  async function update(serial: string, input: Change): Promise<boolean> {
    return conditionHeld(client.send(new UpdateItemCommand({ TableName: table, Key: key(serial), ...input })));
  }

  /** A write about a row as it was read. */
  function decide(device: Device, { set, remove, markForDeletion, values = {}, names }: Decision): Promise<boolean> {
    const pendingDeletion = (markForDeletion ?? []).filter((id) => id !== undefined);
    return update(device.serial, {
      UpdateExpression: updateOf({
        ...(set === undefined ? {} : { set }),
        ...(remove === undefined ? {} : { remove }),
        add: pendingDeletion.length === 0 ? [] : ['condemned :condemned'],
      }),
      ConditionExpression: asRead(device),
      ...(names === undefined ? {} : { ExpressionAttributeNames: names }),
      ExpressionAttributeValues: {
        ...read(device),
        ...values,
        ...(pendingDeletion.length === 0 ? {} : { ':condemned': SS(pendingDeletion) }),
      },
    });
  }

  return {
    enrol: (enrolment) =>
      conditionHeld(
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
        // rows that are no devices (`sweep-lease.ts`) have a key that is no serial
        for (const item of page.Items ?? []) if (isSerial(item.productId?.S ?? '')) yield deviceOf(item);
        from = page.LastEvaluatedKey;
      } while (from !== undefined);
    },

    async claim(request) {
      // the SDK repeats a call whose answer was lost: it then takes up its own claim
      const claimedBy = request.claimedBy ?? randomUUID();
      try {
        const { Attributes } = await client.send(
          new UpdateItemCommand({
            TableName: table,
            Key: key(request.serial),
            UpdateExpression:
              'SET applyState = :provisioning, #timestamp = :now, leaseUntil = :lease, claimant = :claimant, creates = if_not_exists(creates, :none) REMOVE deleted ADD attempt :one',
            ConditionExpression: mayClaim,
            ExpressionAttributeNames: { '#timestamp': 'timestamp' },
            ExpressionAttributeValues: {
              ':provisioning': stateAttribute('provisioning'),
              ':enrolled': stateAttribute('enrolled'),
              ':token': S(request.tokenHash),
              ':now': N(request.now),
              ':lease': N(request.now + request.leaseMs),
              ':claimant': S(claimedBy),
              ':one': N(1),
              ':none': { M: {} },
            },
            ReturnValues: 'ALL_NEW',
          }),
        );
        return { outcome: 'claimed', device: deviceOf(Attributes ?? {}) };
      } catch (error) {
        if (!(error instanceof ConditionalCheckFailedException)) throw error;
        // read in any case: the item comes with the error only where there is one, and time would tell which serials exist
        const item = await find(request.serial);
        return judgeClaim(item && deviceOf(item), request) ?? { outcome: 'busy', until: request.now };
      }
    },

    async bindKey(serial, keyDigest) {
      // a row of its own: no serial has a "#" in it
      const row = `#key:${keyDigest}`;
      const bind = (condition: string, values: Item) =>
        update(row, {
          UpdateExpression: 'SET holder = :serial',
          ConditionExpression: condition,
          ExpressionAttributeValues: { ':serial': S(serial), ...values },
        });
      if (await bind('attribute_not_exists(holder) OR holder = :serial', {})) return true;
      const holder = (await find(row))?.holder?.S ?? '';
      if ((await find(holder)) !== undefined) return false;
      return bind('holder = :gone', { ':gone': S(holder) });
    },

    async recordCreateIntent(serial, attempt, call, ownKey) {
      const note = (dropped?: string) =>
        update(serial, {
          UpdateExpression: `SET creates.#attempt = :call${ownKey === undefined ? '' : ', ownKey = :ownKey'}${dropped === undefined ? '' : ' REMOVE creates.#dropped'}`,
          ConditionExpression: `${currentAttempt}${dropped === undefined ? ' AND size(creates) < :limit' : ''}`,
          ExpressionAttributeNames: {
            '#attempt': String(attempt),
            ...(dropped === undefined ? {} : { '#dropped': dropped }),
          },
          ExpressionAttributeValues: {
            ':provisioning': stateAttribute('provisioning'),
            ':attempt': N(attempt),
            ':call': itemOfCall(call),
            ...(dropped === undefined ? { ':limit': N(createsLimit) } : {}),
            ...(ownKey === undefined ? {} : { ':ownKey': itemOfOwnKey(ownKey) }),
          },
        });
      if (await note()) return true;
      const item = await find(serial);
      const dropped = item && oldestBeyondLimit(deviceOf(item).createIntents);
      return dropped === undefined ? false : note(dropped);
    },

    recordCertificate: (serial, attempt, { certificateId, keyDigest, createdBy }) =>
      update(serial, {
        UpdateExpression: updateOf({
          set: ['certId = :cert', ...(keyDigest === undefined ? [] : ['keyDigest = :key'])],
          remove: [
            ...(keyDigest === undefined ? ['keyDigest'] : []),
            ...(createdBy === undefined ? [] : ['creates.#by']),
          ],
        }),
        ConditionExpression: `${currentAttempt} AND NOT contains(condemned, :cert) AND NOT contains(deleted, :cert)`,
        ...(createdBy === undefined ? {} : { ExpressionAttributeNames: { '#by': String(createdBy) } }),
        ExpressionAttributeValues: {
          ':provisioning': stateAttribute('provisioning'),
          ':attempt': N(attempt),
          ':cert': S(certificateId),
          ...(keyDigest === undefined ? {} : { ':key': S(keyDigest) }),
        },
      }),

    discardCertificate: (serial, attempt, certificateId) =>
      update(serial, {
        UpdateExpression: 'REMOVE certId, keyDigest ADD condemned :certs',
        // repeating it is discarding it: it may be marked for deletion already
        ConditionExpression: `${currentAttempt} AND (certId = :cert OR contains(condemned, :cert))`,
        ExpressionAttributeValues: {
          ':provisioning': stateAttribute('provisioning'),
          ':attempt': N(attempt),
          ':cert': S(certificateId),
          ':certs': SS([certificateId]),
        },
      }),

    finish: (serial, attempt, certificateId, now) =>
      update(serial, {
        UpdateExpression:
          'SET applyState = :registered, issuedAt = if_not_exists(issuedAt, :now) REMOVE leaseUntil, claimant, previousCertId, ownKey',
        // repeating it is finishing it: the state may be that of the first time
        ConditionExpression: 'applyState IN (:provisioning, :registered) AND attempt = :attempt AND certId = :cert',
        ExpressionAttributeValues: {
          ':provisioning': stateAttribute('provisioning'),
          ':registered': stateAttribute('registered'),
          ':attempt': N(attempt),
          ':cert': S(certificateId),
          ':now': N(now),
        },
      }),

    async reopen(device, request) {
      const { now, leaseMs } = request;
      const taken = await update(device.serial, {
        UpdateExpression:
          'SET applyState = :provisioning, #timestamp = :now, attempt = :next, leaseUntil = :lease, claimant = :claimant, creates = if_not_exists(creates, :none) REMOVE issuedAt, deleted',
        ConditionExpression: 'applyState = :registered AND attempt = :attempt AND attribute_not_exists(deliveredAt)',
        ExpressionAttributeNames: { '#timestamp': 'timestamp' },
        ExpressionAttributeValues: {
          ':provisioning': stateAttribute('provisioning'),
          ':registered': stateAttribute('registered'),
          ':attempt': N(device.attempt),
          ':next': N(device.attempt + 1),
          ':now': N(now),
          ':lease': N(now + leaseMs),
          ':claimant': S(request.claimedBy ?? randomUUID()),
          ':none': { M: {} },
        },
      });
      if (!taken) return { outcome: 'busy', until: now };
      const { issuedAt: _over, ...rest } = device;
      return {
        outcome: 'claimed',
        device: {
          ...rest,
          state: 'provisioning',
          requestedAt: now,
          attempt: device.attempt + 1,
          leaseUntil: now + leaseMs,
        },
      };
    },

    acknowledge: (serial, tokenHash, certificateId, now) =>
      update(serial, {
        UpdateExpression: 'SET deliveredAt = if_not_exists(deliveredAt, :now)',
        ConditionExpression: 'applyState = :registered AND accessToken = :token AND certId = :cert',
        ExpressionAttributeValues: {
          ':registered': stateAttribute('registered'),
          ':token': S(tokenHash),
          ':cert': S(certificateId),
          ':now': N(now),
        },
      }),

    release: (serial, attempt, nothingMade = false) =>
      update(serial, {
        UpdateExpression: `SET applyState = :enrolled REMOVE leaseUntil, claimant${nothingMade ? ', creates.#attempt' : ''}`,
        ConditionExpression: currentAttempt,
        ...(nothingMade ? { ExpressionAttributeNames: { '#attempt': String(attempt) } } : {}),
        ExpressionAttributeValues: {
          ':provisioning': stateAttribute('provisioning'),
          ':enrolled': stateAttribute('enrolled'),
          ':attempt': N(attempt),
        },
      }),

    async markForDeletion(serial, certificateId) {
      const marked = await update(serial, {
        UpdateExpression: 'ADD condemned :certs',
        ConditionExpression:
          'attribute_exists(productId) AND (attribute_not_exists(certId) OR certId <> :cert) AND (attribute_not_exists(previousCertId) OR previousCertId <> :cert)',
        ExpressionAttributeValues: { ':cert': S(certificateId), ':certs': SS([certificateId]) },
      });
      if (marked) return 'marked';
      return (await find(serial)) === undefined ? 'no-row' : 'in-use';
    },

    async confirmDeleted(serial, certificateId) {
      await update(serial, {
        UpdateExpression: 'ADD deleted :certs DELETE condemned :certs',
        ConditionExpression: 'attribute_exists(productId)',
        ExpressionAttributeValues: { ':certs': SS([certificateId]) },
      });
    },

    async clearCreateIntents(device, attempts) {
      if (attempts.length === 0) return true;
      return decide(device, {
        remove: attempts.map((_attempt, index) => `creates.#a${index}`),
        names: Object.fromEntries(attempts.map((attempt, index) => [`#a${index}`, attempt])),
      });
    },

    abandonAttempt: (device) =>
      decide(device, {
        set: ['applyState = :state', 'attempt = :next'],
        remove: ['leaseUntil', 'claimant', 'certId', 'keyDigest', 'ownKey'],
        markForDeletion: [device.certificateId],
        values: {
          ':state': stateAttribute(device.state === 'blocked' ? 'blocked' : 'enrolled'),
          ':next': N(device.attempt + 1),
        },
      }),

    block: (device) =>
      decide(device, {
        set: [
          'applyState = :blocked',
          'attempt = :next',
          // unblocking goes by it, and a row that another tool wrote has none
          ...(device.issuedAt === undefined ? [] : ['issuedAt = :issued']),
        ],
        remove: ['leaseUntil', 'claimant'],
        values: {
          ':blocked': stateAttribute('blocked'),
          ':next': N(device.attempt + 1),
          ...(device.issuedAt === undefined ? {} : { ':issued': N(device.issuedAt) }),
        },
      }),

    async unblock(device) {
      if (device.state !== 'blocked' || device.removal !== undefined) return false;
      return decide(device, {
        set: ['applyState = :back', 'attempt = :next'],
        values: {
          ':back': stateAttribute(device.issuedAt === undefined ? 'enrolled' : 'registered'),
          ':next': N(device.attempt + 1),
        },
      });
    },

    reissue(device, { tokenHash, tokenExpiresAt, sealedKeys }) {
      const live = device.issuedAt !== undefined && device.certificateId !== undefined;
      return decide(device, {
        set: [
          'accessToken = :newToken',
          'applyState = :enrolled',
          'attempt = :next',
          ...(live ? ['previousCertId = :previous'] : []),
          ...(tokenExpiresAt === undefined ? [] : ['tokenExpiresAt = :expiry']),
          ...(sealedKeys === undefined ? [] : ['sealedKeys = :keys']),
        ],
        remove: [
          ...['certId', 'keyDigest', 'issuedAt', 'deliveredAt', 'leaseUntil', 'claimant', 'ownKey'],
          ...(tokenExpiresAt === undefined ? ['tokenExpiresAt'] : []),
          ...(sealedKeys === undefined ? ['sealedKeys'] : []),
        ],
        markForDeletion: [live ? undefined : device.certificateId],
        values: {
          ':newToken': S(tokenHash),
          ':enrolled': stateAttribute('enrolled'),
          ':next': N(device.attempt + 1),
          ...(live ? { ':previous': S(device.certificateId) } : {}),
          ...(tokenExpiresAt === undefined ? {} : { ':expiry': N(tokenExpiresAt) }),
          ...(sealedKeys === undefined ? {} : { ':keys': itemOfSealedKeys(sealedKeys) }),
        },
      });
    },

    retire: (device, removal) =>
      decide(device, {
        set: ['applyState = :blocked', 'attempt = :next', 'removal = :removal'],
        remove: ['leaseUntil', 'claimant', 'certId', 'keyDigest', 'previousCertId', 'ownKey'],
        markForDeletion: [device.certificateId, device.previousCertificateId],
        values: { ':blocked': stateAttribute('blocked'), ':next': N(device.attempt + 1), ':removal': S(removal) },
      }),

    remove: (device) =>
      conditionHeld(
        client.send(
          new DeleteItemCommand({
            TableName: table,
            Key: key(device.serial),
            ConditionExpression: `${asRead(device)} AND attribute_not_exists(condemned) AND (attribute_not_exists(creates) OR size(creates) = :nothing)`,
            ExpressionAttributeValues: { ...read(device), ':nothing': N(0) },
          }),
        ),
      ),
  };
}

type Clauses = {
  readonly set?: readonly string[];
  readonly remove?: readonly string[];
  readonly add?: readonly string[];
};
type Decision = Pick<Clauses, 'set' | 'remove'> & {
  readonly markForDeletion?: readonly (string | undefined)[];
  readonly values?: Item;
  readonly names?: Record<string, string>;
};

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html */
function updateOf({ set = [], remove = [], add = [] }: Clauses): string {
  const clauses: [string, readonly string[]][] = [
    ['SET', set],
    ['REMOVE', remove],
    ['ADD', add],
  ];
  return clauses
    .filter(([, parts]) => parts.length > 0)
    .map(([verb, parts]) => `${verb} ${parts.join(', ')}`)
    .join(' ');
}

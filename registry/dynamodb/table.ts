import {
  type AttributeValue,
  ConditionalCheckFailedException,
  CreateTableCommand,
  DeleteItemCommand,
  type TableDescription as Described,
  DescribeTableCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
  ScanCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
  UpdateTableCommand,
} from '@aws-sdk/client-dynamodb';
import { awsErrorName } from '../../aws/errors.ts';
import type { AwsGate } from '../../aws/gate.ts';
import type { AwsOperation } from '../../aws/iam-policy.ts';
import { reasonsOf, untilNoConflict } from './conflicts.ts';
import { keyAttribute } from './named-attributes.ts';

export type { AttributeValue };

/** A row as DynamoDB has it, by attribute. */
export type Item = Record<string, AttributeValue>;

export type TableDescription = {
  readonly name: string;
  /** @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html */
  readonly status: string;
  /** the partition key, and the sort key if there is one. `type`: `S`, `N` or `B` */
  readonly keys: readonly TableKey[];
  readonly indexes: readonly {
    readonly name: string;
    readonly status: string;
    readonly keys: readonly TableKey[];
    /** what it has of a row besides the keys */
    readonly attributes: 'all' | readonly string[];
  }[];
  /** as AWS counted them, some hours ago */
  readonly rows: number;
};

type TableKey = { readonly attribute: string; readonly type: string };

/** An index with a partition key that is text, and a sort key that is a number. */
export type IndexDefinition = {
  readonly name: string;
  readonly partition: string;
  readonly sort: string;
  /** attributes that it has besides the keys */
  readonly included: readonly string[];
};

/** The rows of one partition of an index; `from`: those of which a number that sorts them is at least this. */
export type IndexQuery = {
  readonly index: string;
  readonly partition: readonly [attribute: string, value: string];
  readonly from?: readonly [attribute: string, atLeast: number];
  /** of a page; without it, a page has up to 1 MB */
  readonly pageSize?: number;
};

/** What names and values are called in an expression. */
export type Placeholders = {
  /** an attribute that the code names */
  name(attribute: string): string;
  /** an attribute, or the key of an entry, that is data */
  key(data: string): string;
  value(value: AttributeValue): string;
};

/** A condition, or an update, of one write. `conditions.ts` and `updates.ts` make them. */
export type Clause = (placeholders: Placeholders) => string;

/** One write of several. */
export type TableWrite = { readonly key: string; readonly update: Clause; readonly condition: Clause | undefined };

/**
 * One table of DynamoDB, and the few calls that the registry makes. A condition that does not hold is an answer, and the
 * row is then unchanged; every other error is thrown as the gate maps it. Reads are consistent, but for `glance` and `query`.
 */
export interface DynamoTable {
  get(key: string): Promise<Item | undefined>;
  /** The row as it was not long ago: it costs half as much. */
  glance(key: string): Promise<Item | undefined>;
  /** Every row, page by page, in no particular order. @param pageSize without it, a page has up to 1 MB */
  scan(pageSize?: number): AsyncIterable<Item>;
  /** Rows of an index, page by page, with the attributes that it has. It follows the table within some seconds. */
  query(of: IndexQuery): AsyncIterable<Item>;
  put(key: string, item: Item, condition?: Clause): Promise<boolean>;
  /** Changes a row, or makes it where there is none and the condition allows that. */
  update(key: string, update: Clause, condition?: Clause): Promise<boolean>;
  /** @returns the row as this update leaves it; undefined when the condition did not hold */
  updateAndGet(key: string, update: Clause, condition?: Clause): Promise<Item | undefined>;
  delete(key: string, condition: Clause): Promise<boolean>;
  create(index: IndexDefinition): Promise<'created' | 'exists'>;
  /** Begins to build an index. `exists` where it is there, or is being built. */
  addIndex(index: IndexDefinition): Promise<'added' | 'exists'>;
  /**
   * Changes several rows, or makes them, all or none. @returns which of the conditions held: all of them, or nothing was written
   * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
   */
  updateTogether(writes: readonly TableWrite[]): Promise<readonly boolean[]>;
  /** undefined when there is none, also for a moment after `create` */
  describe(): Promise<TableDescription | undefined>;
}

/** No other file of the registry but `upkeep.ts` imports the SDK, and every call passes the gate. */
export function openDynamoTable(client: Pick<DynamoDBClient, 'send'>, name: string, gate: AwsGate): DynamoTable {
  const write = <T>(operation: AwsOperation, send: () => Promise<T>) =>
    ifHeld(untilNoConflict(() => gate.call(operation, send)));
  const row = (key: string) => ({ TableName: name, Key: { [keyAttribute]: { S: key } } });
  const getItem = async (key: string, consistent: boolean): Promise<Item | undefined> => {
    if (!canBeKey(key)) return undefined;
    const command = new GetItemCommand({ ...row(key), ConsistentRead: consistent });
    return (await gate.call('dynamodb:GetItem', () => client.send(command))).Item;
  };
  return {
    get: (key) => getItem(key, true),
    glance: (key) => getItem(key, false),
    scan: (pageSize) =>
      pagesOf((from) => {
        const command = new ScanCommand({ TableName: name, ConsistentRead: true, ...partOf(pageSize, from) });
        return gate.call('dynamodb:Scan', () => client.send(command));
      }),
    query: ({ index, partition: [attribute, value], from: range, pageSize }) =>
      pagesOf((from) => {
        const command = new QueryCommand({
          TableName: name,
          IndexName: index,
          KeyConditionExpression: `#p = :p${range === undefined ? '' : ' AND #r >= :r'}`,
          ExpressionAttributeNames: { '#p': attribute, ...(range === undefined ? {} : { '#r': range[0] }) },
          ExpressionAttributeValues: {
            ':p': { S: value },
            ...(range === undefined ? {} : { ':r': { N: String(range[1]) } }),
          },
          ...partOf(pageSize, from),
        });
        return gate.call('dynamodb:Query', () => client.send(command));
      }),
    async put(key, item, condition) {
      const whole = { ...item, [keyAttribute]: { S: key } };
      const command = new PutItemCommand({ TableName: name, Item: whole, ...expressionsOf({ condition }) });
      return (await write('dynamodb:PutItem', () => client.send(command))) !== undefined;
    },
    async update(key, update, condition) {
      const command = new UpdateItemCommand({ ...row(key), ...expressionsOf({ update, condition }) });
      return (await write('dynamodb:UpdateItem', () => client.send(command))) !== undefined;
    },
    async updateAndGet(key, update, condition) {
      const expressions = expressionsOf({ update, condition });
      const command = new UpdateItemCommand({ ...row(key), ...expressions, ReturnValues: 'ALL_NEW' });
      return (await write('dynamodb:UpdateItem', () => client.send(command)))?.Attributes;
    },
    async delete(key, condition) {
      const command = new DeleteItemCommand({ ...row(key), ...expressionsOf({ condition }) });
      return (await write('dynamodb:DeleteItem', () => client.send(command))) !== undefined;
    },
    async updateTogether(writes) {
      const TransactItems = writes.map(({ key, update, condition }) => {
        const { UpdateExpression = '', ...rest } = expressionsOf({ update, condition });
        return { Update: { ...row(key), UpdateExpression, ...rest } };
      });
      try {
        await untilNoConflict(() =>
          // a new command has a new token: what was cancelled is not to be answered from memory
          gate.call('dynamodb:TransactWriteItems', () => client.send(new TransactWriteItemsCommand({ TransactItems }))),
        );
        return writes.map(() => true);
      } catch (error) {
        const reasons = reasonsOf(error);
        if (!reasons.includes(conditionFailed) || reasons.some((reason) => !conditionReasons.includes(reason)))
          throw error;
        return reasons.map((reason) => reason !== conditionFailed);
      }
    },
    async create(index) {
      const command = new CreateTableCommand({
        TableName: name,
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: keyAttribute, KeyType: 'HASH' }],
        AttributeDefinitions: attributesOf(index),
        GlobalSecondaryIndexes: [createdIndex(index)],
        // its rows are all that ties devices to their certificates
        DeletionProtectionEnabled: true,
      });
      try {
        await gate.call('dynamodb:CreateTable', () => client.send(command));
        return 'created';
      } catch (error) {
        if (awsErrorName(error) === 'ResourceInUseException') return 'exists';
        throw error;
      }
    },
    async addIndex(index) {
      const command = new UpdateTableCommand({
        TableName: name,
        AttributeDefinitions: attributesOf(index),
        GlobalSecondaryIndexUpdates: [{ Create: createdIndex(index) }],
      });
      try {
        await gate.call('dynamodb:UpdateTable', () => client.send(command));
        return 'added';
      } catch (error) {
        // another set-up began it a moment ago
        if (awsErrorName(error) === 'ResourceInUseException') return 'exists';
        throw error;
      }
    },
    async describe() {
      const command = new DescribeTableCommand({ TableName: name });
      try {
        const { Table } = await gate.call('dynamodb:DescribeTable', () => client.send(command));
        return Table === undefined ? undefined : descriptionOf(name, Table);
      } catch (error) {
        if (awsErrorName(error) === 'ResourceNotFoundException') return undefined;
        throw error;
      }
    },
  };
}

/** @param read reads one page, after this key */
async function* pagesOf(read: (from: Item | undefined) => Promise<Page>): AsyncGenerator<Item> {
  let from: Item | undefined;
  do {
    const page = await read(from);
    yield* page.Items ?? [];
    from = page.LastEvaluatedKey;
  } while (from !== undefined);
}

type Page = { readonly Items?: Item[] | undefined; readonly LastEvaluatedKey?: Item | undefined };

const partOf = (pageSize: number | undefined, from: Item | undefined) => ({
  ...(pageSize === undefined ? {} : { Limit: pageSize }),
  ...(from === undefined ? {} : { ExclusiveStartKey: from }),
});

const attributesOf = ({ partition, sort }: IndexDefinition) => [
  { AttributeName: keyAttribute, AttributeType: 'S' as const },
  { AttributeName: partition, AttributeType: 'S' as const },
  { AttributeName: sort, AttributeType: 'N' as const },
];

const createdIndex = ({ name, partition, sort, included }: IndexDefinition) => ({
  IndexName: name,
  KeySchema: [
    { AttributeName: partition, KeyType: 'HASH' as const },
    { AttributeName: sort, KeyType: 'RANGE' as const },
  ],
  Projection: { ProjectionType: 'INCLUDE' as const, NonKeyAttributes: [...included] },
});

function descriptionOf(name: string, described: Described): TableDescription {
  const { TableStatus, KeySchema, AttributeDefinitions = [], GlobalSecondaryIndexes = [], ItemCount = 0 } = described;
  const keysOf = (schema: Described['KeySchema'] = []) =>
    schema.map(({ AttributeName: attribute = '' }) => ({
      attribute,
      type: AttributeDefinitions.find(({ AttributeName }) => AttributeName === attribute)?.AttributeType ?? '',
    }));
  return {
    name,
    status: TableStatus ?? '',
    keys: keysOf(KeySchema),
    indexes: GlobalSecondaryIndexes.map((index) => ({
      name: index.IndexName ?? '',
      status: index.IndexStatus ?? '',
      keys: keysOf(index.KeySchema),
      attributes: index.Projection?.ProjectionType === 'ALL' ? 'all' : (index.Projection?.NonKeyAttributes ?? []),
    })),
    rows: ItemCount,
  };
}

/** DynamoDB refuses a key that is empty or longer than 2,048 bytes, with the error for a table that has other keys. */
const canBeKey = (key: string): boolean => key !== '' && Buffer.byteLength(key) <= 2048;

const conditionFailed = 'ConditionalCheckFailed';
const conditionReasons = ['None', conditionFailed];

/** Undefined when the condition of a write did not hold, which is an outcome. */
async function ifHeld<T>(write: Promise<T>): Promise<T | undefined> {
  try {
    return await write;
  } catch (error) {
    if (error instanceof ConditionalCheckFailedException) return undefined;
    throw error;
  }
}

/**
 * The words among our attributes that an expression cannot contain. DynamoDB and its stand-in refuse them, so a test fails
 * where one is missing here. Placeholders for all names would cost the SDK a tenth more CPU for each write.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/ReservedWords.html
 */
const reservedWords = new Set(['timestamp']);

/**
 * Expressions with the names and values that they use. Data is never part of the text of an expression.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.ExpressionAttributeNames.html
 */
function expressionsOf({ update, condition }: { update?: Clause; condition?: Clause | undefined }) {
  const names: Record<string, string> = {};
  const values: Record<string, AttributeValue> = {};
  let count = 0;
  const key = (data: string): string => {
    const placeholder = `#${count++}`;
    names[placeholder] = data;
    return placeholder;
  };
  const placeholders: Placeholders = {
    key,
    name: (attribute) => (reservedWords.has(attribute) ? key(attribute) : attribute),
    value(value) {
      const placeholder = `:${count++}`;
      values[placeholder] = value;
      return placeholder;
    },
  };
  const [updateText, conditionText] = [update?.(placeholders), condition?.(placeholders)];
  // DynamoDB refuses what is empty
  return {
    ...(updateText ? { UpdateExpression: updateText } : {}),
    ...(conditionText ? { ConditionExpression: conditionText } : {}),
    ...(Object.keys(names).length > 0 ? { ExpressionAttributeNames: names } : {}),
    ...(Object.keys(values).length > 0 ? { ExpressionAttributeValues: values } : {}),
  };
}

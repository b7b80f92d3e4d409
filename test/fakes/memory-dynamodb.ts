import {
  ConditionalCheckFailedException,
  type DynamoDBClient,
  TransactionCanceledException,
} from '@aws-sdk/client-dynamodb';
import deleteItem from 'dynalite/actions/deleteItem.js';
import putItem from 'dynalite/actions/putItem.js';
import updateItem from 'dynalite/actions/updateItem.js';
import validations from 'dynalite/validations/index.js';
import { keyAttribute } from '../../registry/dynamodb/named-attributes.ts';
import { siteIndex } from '../../registry/dynamodb/site-index.ts';
import { type DynamoTable, type Item, openDynamoTable } from '../../registry/dynamodb/table.ts';

type Command = { readonly input: Record<string, unknown> };
type Operation = typeof putItem;
type Update = Record<string, unknown>;

/**
 * A table of DynamoDB in this process, without HTTP: dynalite parses and evaluates the expressions of the very commands that the
 * adapter sends. Each call is carried out at once.
 */
export function createMemoryDynamo(): { readonly table: DynamoTable; readonly items: Map<string, Item> } {
  const items = new Map<string, Item>();
  const operations: Record<string, (input: Record<string, unknown>) => unknown> = {
    GetItemCommand: ({ Key }) => ({ Item: withBytes(items.get(keyIn(Key))) }),
    QueryCommand: (input) => ({ Items: inIndex([...items.values()], input).map(withBytes) }),
    ScanCommand: () => ({ Items: [...items.values()].map(withBytes) }),
    PutItemCommand: (input) => carryOut(putItem, items, keyIn(input.Item), input),
    UpdateItemCommand: (input) => carryOut(updateItem, items, keyIn(input.Key), input),
    DeleteItemCommand: (input) => carryOut(deleteItem, items, keyIn(input.Key), input),
    TransactWriteItemsCommand: ({ TransactItems }) => writeTogether(items, TransactItems as { Update: Update }[]),
  };
  const send = async (command: Command) => operations[command.constructor.name]?.(command.input);
  const client = { send } as unknown as Pick<DynamoDBClient, 'send'>;
  return { table: openDynamoTable(client, 'devices', { call: (_operation, act) => act() }), items };
}

/** The rows of one partition of an index, and the attributes that it has. */
function inIndex(items: readonly Item[], input: Record<string, unknown>): Item[] {
  if (input.IndexName !== siteIndex.name) throw new Error('there is no such index');
  const values = input.ExpressionAttributeValues as Item;
  const from = Number(values[':r']?.N ?? Number.NEGATIVE_INFINITY);
  const { partition, sort, included } = siteIndex;
  const isIn = (item: Item) => item[partition]?.S === values[':p']?.S && Number(item[sort]?.N) >= from;
  const attributes = [keyAttribute, partition, sort, ...included];
  return items
    .filter(isIn)
    .map((item) => Object.fromEntries(Object.entries(item).filter(([name]) => attributes.includes(name))));
}

/** All or nothing: each is carried out on a copy, which takes the place of the table when every condition holds. */
function writeTogether(items: Map<string, Item>, writes: readonly { readonly Update: Update }[]) {
  const after = new Map(items);
  const reasons = writes.map(({ Update }) => {
    try {
      carryOut(updateItem, after, keyIn(Update.Key), Update);
      return { Code: 'None' };
    } catch (error) {
      if (error instanceof ConditionalCheckFailedException) return { Code: 'ConditionalCheckFailed' };
      throw error;
    }
  });
  if (reasons.some(({ Code }) => Code !== 'None'))
    throw new TransactionCanceledException({ message: 'cancelled', $metadata: {}, CancellationReasons: reasons });
  for (const [key, item] of after) items.set(key, item);
  return {};
}

const keyIn = (item: unknown): string => (item as Item)[keyAttribute]?.S ?? '';

function carryOut(operation: Operation, items: Map<string, Item>, key: string, input: Record<string, unknown>) {
  const data = { ...withBase64(input), ...parsedExpressions(input) };
  let outcome: { readonly error: Error | null | undefined; readonly answer: unknown } | undefined;
  operation(storeOf(items, key), data, (error, answer) => {
    outcome = { error, answer };
  });
  if (outcome === undefined) throw new Error('dynalite did not answer at once');
  const { error, answer } = outcome;
  if (error?.message === 'The conditional request failed')
    throw new ConditionalCheckFailedException({ message: error.message, $metadata: {} });
  if (error) throw error;
  return withBytes(answer);
}

type Parsed = { readonly _condition?: object; readonly _updates?: { readonly sections: readonly object[] } };

/** What dynalite made of the expressions of earlier calls: parsing takes nine tenths of the time, and an exploration repeats itself. */
const parsedBefore = new Map<string, Parsed>();

function parsedExpressions(input: Record<string, unknown>): Parsed {
  const { UpdateExpression, ConditionExpression, ExpressionAttributeNames, ExpressionAttributeValues } = input;
  const key = JSON.stringify([
    UpdateExpression,
    ConditionExpression,
    ExpressionAttributeNames,
    ExpressionAttributeValues,
  ]);
  const before = parsedBefore.get(key) ?? parse(withBase64(input));
  if (parsedBefore.size > 100_000) parsedBefore.clear();
  parsedBefore.set(key, before);
  const { _updates: updates } = before;
  // dynalite writes into the sections of an update
  return updates === undefined
    ? before
    : { ...before, _updates: { ...updates, sections: updates.sections.map((section) => ({ ...section })) } };
}

function parse(data: Record<string, unknown>): Parsed {
  const wrong = validations.validateExpressions(data);
  if (typeof wrong === 'string') throw new Error(wrong);
  const { _condition, _updates } = data as Parsed;
  return { ...(_condition && { _condition }), ...(_updates && { _updates }) };
}

const description = {
  KeySchema: [{ AttributeName: keyAttribute, KeyType: 'HASH' }],
  AttributeDefinitions: [{ AttributeName: keyAttribute, AttributeType: 'S' }],
};

/** What dynalite asks of its store in an operation on one item, answered at once. */
function storeOf(items: Map<string, Item>, key: string) {
  const itemDb = {
    lock: (_key: string, run: (release: <T>(callback: T) => T) => void) => run((callback) => callback),
    get(_key: string, callback: (error: { name: string } | null, item?: Item) => void) {
      const item = items.get(key);
      if (item === undefined) callback({ name: 'NotFoundError' });
      else callback(null, item);
    },
    put(_key: string, item: Item, callback: (error: null) => void) {
      items.set(key, item);
      callback(null);
    },
    del(_key: string, callback: (error: null) => void) {
      items.delete(key);
      callback(null);
    },
  };
  return {
    options: { maxItemSize: 409_600 },
    getTable: (_name: string, callback: (error: null, found: unknown) => void) => callback(null, description),
    getItemDb: () => itemDb,
  };
}

/** The SDK gives and takes bytes, of which dynalite has the base64 of the wire. `items` has rows as dynalite does. */
export const withBase64 = <T>(value: T): T =>
  mapped(value, 'B', (bytes) => Buffer.from(bytes as Uint8Array).toString('base64')) as T;
export const withBytes = <T>(value: T): T => mapped(value, 'B', (text) => Buffer.from(text as string, 'base64')) as T;

function mapped(value: unknown, key: string, change: (value: unknown) => unknown): unknown {
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map((each) => mapped(each, key, change));
  const result: Record<string, unknown> = {};
  for (const name in value) {
    const each = (value as Record<string, unknown>)[name];
    result[name] = name === key ? change(each) : mapped(each, key, change);
  }
  return result;
}

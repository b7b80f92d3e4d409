import deleteItem from 'dynalite/actions/deleteItem.js';
import putItem from 'dynalite/actions/putItem.js';
import updateItem from 'dynalite/actions/updateItem.js';
import db, { type Item, type ItemDb, type Store, type Table } from 'dynalite/db/index.js';
import deletion from 'dynalite/validations/deleteItem.js';
import validations from 'dynalite/validations/index.js';
import put from 'dynalite/validations/putItem.js';
import update from 'dynalite/validations/updateItem.js';
import { ApiError } from './errors.ts';

/**
 * TransactWriteItems, which dynalite lacks: its own operations, carried out on what the transaction would leave, and written in one
 * batch when every condition holds.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html
 */
export type Transactions = { write(input: Input): Promise<object> };

type Input = { readonly TransactItems?: readonly Action[]; readonly ClientRequestToken?: string };
type Kind = 'Put' | 'Update' | 'Delete' | 'ConditionCheck';
type Action = { readonly [K in Kind]?: Record<string, unknown> };

/** Why an action stands in the way of the transaction. */
export type CancellationReason = { readonly Code: string; readonly Message?: string; readonly Item?: object };

/** The error of a transaction of which nothing was written. */
export class TransactionCanceled extends ApiError {
  readonly reasons: readonly CancellationReason[];
  constructor(reasons: readonly CancellationReason[]) {
    const codes = reasons.map(({ Code }) => Code).join(', ');
    super(
      'TransactionCanceledException',
      `Transaction cancelled, please refer cancellation reasons for specific reasons [${codes}]`,
    );
    this.reasons = reasons;
  }
}

const limits = { actions: 100, tokenLength: 36, bytes: 4 * 1024 * 1024 };
/** How long a token stands for one transaction. Milliseconds. */
const tokenMs = 600_000;

const operations = { Put: putItem, Update: updateItem, Delete: deleteItem, ConditionCheck: deleteItem } as const;
const rules = { Put: put, Update: update, Delete: deletion, ConditionCheck: deletion } as const;

export function createTransactions(store: Store, now: () => number = Date.now): Transactions {
  const tokens = new Map<string, { readonly text: string; readonly at: number; state: 'running' | 'done' }>();
  return {
    async write({ TransactItems: actions = [], ClientRequestToken: token }) {
      const writes = await plannedWrites(actions, store);
      if (token === undefined) return commit(writes, store);
      for (const [old, { at }] of tokens) if (at + tokenMs < now()) tokens.delete(old);
      if (token.length < 1 || token.length > limits.tokenLength)
        throw invalid(`ClientRequestToken must have 1 to ${limits.tokenLength} characters`);
      const text = JSON.stringify(actions);
      const before = tokens.get(token);
      if (before !== undefined && before.text !== text)
        throw new ApiError('IdempotentParameterMismatchException', 'The token was used for another transaction');
      if (before?.state === 'running')
        throw new ApiError('TransactionInProgressException', 'The transaction of this token is in progress');
      if (before?.state === 'done') return {};
      const running = { text, at: now(), state: 'running' as 'running' | 'done' };
      tokens.set(token, running);
      try {
        const answer = await commit(writes, store);
        running.state = 'done';
        return answer;
      } catch (error) {
        tokens.delete(token);
        throw error;
      }
    },
  };
}

const invalid = (message: string) => new ApiError('ValidationException', message);

type PlannedWrite = {
  readonly kind: Kind;
  readonly data: Record<string, unknown>;
  readonly itemDb: ItemDb;
  readonly key: string;
  /** a condition that fails gives the item back */
  readonly returnsItem: boolean;
};

/** Checks what can be checked without the items. */
async function plannedWrites(actions: readonly Action[], store: Store): Promise<PlannedWrite[]> {
  if (actions.length < 1 || actions.length > limits.actions)
    throw invalid(`TransactItems must have 1 to ${limits.actions} members`);
  if (Buffer.byteLength(JSON.stringify(actions)) > limits.bytes)
    throw invalid('The items of a transaction exceed 4 MB');
  const writes = await Promise.all(actions.map((action) => planned(action, store)));
  const names = new Set(writes.map(({ data, key }) => `${data.TableName} ${key}`));
  if (names.size < writes.length) throw invalid('Transaction request cannot include multiple operations on one item');
  return writes;
}

async function planned(action: Action, store: Store): Promise<PlannedWrite> {
  const [entry, another] = Object.entries(action) as [Kind, Record<string, unknown>][];
  if (entry === undefined || another !== undefined || !(entry[0] in operations))
    throw invalid('TransactItems can only contain one of Check, Put, Update or Delete');
  const [kind, given] = entry;
  const needed = kind === 'ConditionCheck' ? 'ConditionExpression' : kind === 'Update' ? 'UpdateExpression' : undefined;
  if (needed !== undefined && given[needed] === undefined) throw invalid(`${kind} needs ${needed}`);
  const { types, custom } = rules[kind];
  const data = validations.checkTypes({ ...given }, types);
  try {
    validations.checkValidations(data, types, custom, store);
  } catch (error) {
    throw asApiError(error as Error);
  }
  const table = await new Promise<Table>((resolve, reject) =>
    store.getTable(String(data.TableName), (error, found) =>
      error || found === undefined ? reject(asApiError(error ?? new Error('no table'))) : resolve(found),
    ),
  );
  const keyed = (kind === 'Put' ? data.Item : data.Key) as Item;
  if (kind !== 'Put') {
    const wrong = db.validateKey(keyed, table);
    if (wrong != null) throw asApiError(wrong);
  }
  const returnsItem = given.ReturnValuesOnConditionCheckFailure === 'ALL_OLD';
  return { kind, data, itemDb: store.getItemDb(String(data.TableName)), key: db.createKey(keyed, table), returnsItem };
}

/** All or nothing: the items are locked, so that no other write comes between the conditions and the batch. */
async function commit(writes: readonly PlannedWrite[], store: Store): Promise<object> {
  const conflicts = writes.map(({ itemDb, key }) => itemDb.lock.isLocked(key));
  if (conflicts.includes(true))
    throw new TransactionCanceled(conflicts.map((conflict) => (conflict ? conflictReason : noReason)));
  const releases = writes.map(locked);
  try {
    const stage = createStage(store);
    const reasons = await Promise.all(writes.map((write) => carryOut(write, stage.store)));
    if (reasons.some(({ Code }) => Code !== 'None')) throw new TransactionCanceled(reasons);
    await stage.write();
    return {};
  } finally {
    for (const release of releases) release();
  }
}

const noReason: CancellationReason = { Code: 'None' };
const conflictReason: CancellationReason = {
  Code: 'TransactionConflict',
  Message: 'Transaction is ongoing for the item',
};

/** @returns what ends the lock, which is free: nothing was awaited since that was seen */
function locked({ itemDb, key }: PlannedWrite): () => void {
  let release: () => void = () => {};
  itemDb.lock(key, (releasing) => {
    release = releasing(() => {});
  });
  return release;
}

async function carryOut(
  { kind, data, itemDb, key, returnsItem }: PlannedWrite,
  stage: Stage,
): Promise<CancellationReason> {
  const checked = kind === 'ConditionCheck' ? createStage(stage).store : stage;
  const error = await new Promise<DynaliteError | null | undefined>((resolve) =>
    operations[kind](checked, data, (outcome) => resolve(outcome)),
  );
  if (error == null) return noReason;
  const type = error.body?.__type ?? '';
  if (type.endsWith('#ConditionalCheckFailedException')) {
    const item = returnsItem
      ? await new Promise<object | undefined>((resolve) => itemDb.get(key, (_error, found) => resolve(found)))
      : undefined;
    return { Code: 'ConditionalCheckFailed', Message: error.message, ...(item && { Item: item }) };
  }
  if (type.endsWith('#ValidationException')) return { Code: 'ValidationError', Message: error.message };
  throw asApiError(error);
}

type DynaliteError = Error & { readonly body?: { readonly __type?: string }; readonly statusCode?: number };

function asApiError(error: DynaliteError): Error {
  const name = error.body?.__type?.split('#').at(-1);
  return name === undefined ? error : new ApiError(name, error.message, error.statusCode);
}

/** What an operation on one item needs of a store. */
type Stage = Pick<Store, 'getTable' | 'getIndexDb'> & { getItemDb(table: string): ItemDb };

/** A store that reads what is there, and keeps what is written until `write`: the items of a table in one batch. */
function createStage(store: Stage) {
  const batches = new Map<ItemDb, object[]>();
  const staged = (real: ItemDb): ItemDb => {
    const later = (change: object, callback: (error: null) => void) => {
      batches.set(real, [...(batches.get(real) ?? []), change]);
      callback(null);
    };
    return {
      lock: Object.assign((_key: string, run: (releasing: <T>(callback: T) => T) => void) => run((done) => done), {
        isLocked: () => false,
      }),
      get: (key, callback) => real.get(key, callback),
      put: (key, value, callback) => later({ type: 'put', key, value }, callback),
      del: (key, callback) => later({ type: 'del', key }, callback),
      batch: (changes, callback) => real.batch(changes, callback),
    };
  };
  return {
    store: {
      ...store,
      getItemDb: (table: string) => staged(store.getItemDb(table)),
      getIndexDb: (...index: [type: string, table: string, index: string]) => staged(store.getIndexDb(...index)),
    },
    async write(): Promise<void> {
      for (const [real, changes] of batches)
        await new Promise<void>((resolve, reject) => {
          real.batch(changes, (error) => (error ? reject(error) : resolve()));
        });
    },
  };
}

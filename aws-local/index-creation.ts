import db, { type Callback, type Store, type Table } from 'dynalite/db/index.js';

type Index = NonNullable<Table['GlobalSecondaryIndexes']>[number];

/** The input of UpdateTable, as far as it is about new indexes. */
export type IndexCreation = {
  readonly TableName: string;
  readonly AttributeDefinitions?: Table['AttributeDefinitions'];
  readonly GlobalSecondaryIndexUpdates?: readonly { readonly Create?: Index }[];
};

/**
 * What dynalite leaves out: an index for a table that is there. It is built from the rows, while writes go on.
 * @returns the description of the table
 * @throws where AWS says that the resource is in use
 */
export async function createIndexes(store: Store, creation: IndexCreation): Promise<Table> {
  const { TableName: name } = creation;
  const created = (creation.GlobalSecondaryIndexUpdates ?? []).flatMap(({ Create }) => Create ?? []);
  const table = await changeTable(store, name, (found) => withIndexes(found, created, creation.AttributeDefinitions));
  build(store, table, created).catch(() => {});
  return table;
}

function withIndexes(table: Table, created: readonly Index[], definitions = table.AttributeDefinitions): Table {
  const { GlobalSecondaryIndexes: there = [], TableArn, TableStatus } = table;
  if (TableStatus !== 'ACTIVE') throw new Error('Attempt to change a resource which is still in use');
  if (there.some(({ IndexName }) => created.some((index) => index.IndexName === IndexName)))
    throw new Error('Attempting to create an index which already exists');
  const throughput = { ReadCapacityUnits: 0, WriteCapacityUnits: 0, NumberOfDecreasesToday: 0 };
  const described = created.map((index) => ({
    ...index,
    IndexArn: `${TableArn}/index/${index.IndexName}`,
    IndexStatus: 'CREATING',
    ItemCount: 0,
    IndexSizeBytes: 0,
    ProvisionedThroughput: throughput,
  }));
  return { ...table, AttributeDefinitions: definitions, GlobalSecondaryIndexes: [...there, ...described] };
}

async function build(store: Store, table: Table, created: readonly Index[]): Promise<void> {
  const rows = store.getItemDb(table.TableName);
  const keys: string[] = [];
  for await (const item of rows.createValueStream({})) keys.push(db.createKey(item, table));
  for (const key of keys)
    await promised<unknown>((done) =>
      rows.lock(key, (release) => {
        const unlocked = release(done);
        // read under the lock: a row that was written or deleted since it was listed is indexed as it is now
        rows.get(key, (_gone, item) => {
          if (item === undefined) unlocked();
          else db.updateIndexes(store, table, null, item, unlocked);
        });
      }),
    );
  const names = created.map(({ IndexName }) => IndexName);
  const active = (index: Index) => (names.includes(index.IndexName) ? { ...index, IndexStatus: 'ACTIVE' } : index);
  await changeTable(store, table.TableName, (found) => ({
    ...found,
    GlobalSecondaryIndexes: (found.GlobalSecondaryIndexes ?? []).map(active),
  }));
}

/** Changes what is kept of a table under the lock that dynalite's own operations take. */
export function changeTable(store: Store, name: string, change: (table: Table) => Table): Promise<Table> {
  return promised((done) =>
    store.tableDb.lock(name, (release) => {
      const unlocked: Callback<Table> = release(done);
      store.tableDb.get(name, (error, found) => {
        if (error || found === undefined) return unlocked(error ?? new Error(`there is no table ${name}`));
        try {
          const table = change(found);
          store.tableDb.put(name, table, (failed) => unlocked(failed, table));
        } catch (refused) {
          unlocked(refused as Error);
        }
      });
    }),
  );
}

const promised = <T>(act: (done: Callback<T>) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    act((error, value) => (error ? reject(error) : resolve(value as T)));
  });

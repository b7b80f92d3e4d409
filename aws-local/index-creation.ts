import db, { type Item, type Store, type Table } from 'dynalite/db/index.js';

type Creation = {
  readonly TableName: string;
  readonly AttributeDefinitions?: Table['AttributeDefinitions'];
  readonly GlobalSecondaryIndexUpdates?: readonly {
    readonly Create?: NonNullable<Table['GlobalSecondaryIndexes']>[number];
  }[];
};

/** What dynalite leaves out: an index for a table that is there. It is built from the rows, while writes go on. */
export async function createIndexes(
  store: Store,
  { TableName, ...creation }: Creation,
  buildMs: number,
): Promise<Table> {
  const created = (creation.GlobalSecondaryIndexUpdates ?? []).flatMap(({ Create }) => Create ?? []);
  const isThere = (found: Table) =>
    found.GlobalSecondaryIndexes?.some(({ IndexName }) => created.some((index) => index.IndexName === IndexName));
  const table = await changed(store, TableName, (found) =>
    isThere(found)
      ? found
      : {
          ...found,
          AttributeDefinitions: creation.AttributeDefinitions ?? found.AttributeDefinitions,
          GlobalSecondaryIndexes: [
            ...(found.GlobalSecondaryIndexes ?? []),
            ...created.map((index) => ({
              ...index,
              IndexArn: `${found.TableArn}/index/${index.IndexName}`,
              IndexStatus: 'CREATING',
              ItemCount: 0,
              IndexSizeBytes: 0,
              ProvisionedThroughput: { ReadCapacityUnits: 0, WriteCapacityUnits: 0, NumberOfDecreasesToday: 0 },
            })),
          ],
        },
  );
  setTimeout(
    () =>
      void build(
        store,
        TableName,
        created.map(({ IndexName }) => IndexName),
      ).catch(() => {}),
    buildMs,
  );
  return table;
}

async function build(store: Store, name: string, indexes: readonly string[]): Promise<void> {
  const table = await promised<Table>((done) => store.tableDb.get(name, done));
  for (const item of await rowsOf(store, name))
    await promised<unknown>((done) => db.updateIndexes(store, table, null, item, done));
  await changed(store, name, (found) => ({
    ...found,
    GlobalSecondaryIndexes: (found.GlobalSecondaryIndexes ?? []).map((index) =>
      indexes.includes(index.IndexName) ? { ...index, IndexStatus: 'ACTIVE' } : index,
    ),
  }));
}

async function rowsOf(store: Store, name: string): Promise<Item[]> {
  const rows: Item[] = [];
  for await (const item of store.getItemDb(name).createValueStream({})) rows.push(item);
  return rows;
}

/** Changes the description of a table under the lock that dynalite's own operations take. */
function changed(store: Store, name: string, change: (table: Table) => Table): Promise<Table> {
  return promised((done) =>
    store.tableDb.lock(name, (release) => {
      const unlocked = release(done);
      store.tableDb.get(name, (error, found) => {
        if (error || found === undefined) return unlocked(error ?? new Error(`there is no table ${name}`));
        const table = change(found);
        if (table === found) return unlocked(new Error('Attempting to create an index which already exists'));
        store.tableDb.put(name, table, (failed) => unlocked(failed, table));
      });
    }),
  );
}

const promised = <T>(act: (done: (error: Error | null | undefined, value?: T) => void) => void): Promise<T> =>
  new Promise((resolve, reject) => {
    act((error, value) => (error ? reject(error) : resolve(value as T)));
  });

declare module 'dynalite' {
  import type { Server } from 'node:http';
  /** A DynamoDB that speaks HTTP; not listening yet. Times in milliseconds. */
  export default function dynalite(options: {
    path?: string;
    createTableMs?: number;
    deleteTableMs?: number;
    updateTableMs?: number;
  }): Server;
}
/** The parts of dynalite that carry out one operation on a store. */
type DynaliteCallback = (
  error: (Error & { readonly body?: { readonly __type?: string }; readonly statusCode?: number }) | null | undefined,
  answer?: { Attributes?: Record<string, unknown> },
) => void;
type DynaliteOperation = (store: unknown, data: unknown, callback: DynaliteCallback) => void;

declare module 'dynalite/actions/putItem.js' {
  const putItem: DynaliteOperation;
  export default putItem;
}
declare module 'dynalite/actions/updateItem.js' {
  const updateItem: DynaliteOperation;
  export default updateItem;
}
declare module 'dynalite/actions/deleteItem.js' {
  const deleteItem: DynaliteOperation;
  export default deleteItem;
}

/** The checks of an operation's input. */
type DynaliteRules = { readonly types: object; readonly custom: object };

declare module 'dynalite/validations/putItem.js' {
  const rules: DynaliteRules;
  export default rules;
}
declare module 'dynalite/validations/updateItem.js' {
  const rules: DynaliteRules;
  export default rules;
}
declare module 'dynalite/validations/deleteItem.js' {
  const rules: DynaliteRules;
  export default rules;
}
declare module 'dynalite/validations/index.js' {
  const validations: {
    /** Parses the expressions of an operation into it. @returns why they are wrong */
    validateExpressions(data: unknown): string | undefined;
    /** @returns the members that the operation has, with the right types */
    checkTypes(data: object, types: object): Record<string, unknown>;
    /** Parses the expressions into the data. @throws where the input is not valid */
    checkValidations(data: object, types: object, custom: object, store: unknown): void;
  };
  export default validations;
}

declare module 'dynalite/db/index.js' {
  export type Item = Record<string, unknown>;
  export type Table = {
    readonly TableName: string;
    readonly TableArn: string;
    readonly TableStatus: string;
    readonly AttributeDefinitions: readonly object[];
    readonly GlobalSecondaryIndexes?: readonly { readonly IndexName: string; readonly IndexStatus?: string }[];
    /** what `table-upkeep.ts` keeps with it */
    readonly upkeep?: { readonly recovery?: boolean; readonly expiresBy?: string };
  };
  export type Callback<T> = (error?: Error | null, value?: T) => void;
  type Rows<Row> = {
    lock: {
      (key: string, run: (release: <T>(callback: Callback<T>) => Callback<T>) => void): void;
      isLocked(key: string): boolean;
    };
    get(key: string, callback: Callback<Row>): void;
    put(key: string, row: Row, callback: Callback<unknown>): void;
    del(key: string, callback: Callback<unknown>): void;
    batch(changes: readonly object[], callback: Callback<unknown>): void;
  };
  /** The last argument is what to call back, with the error first. */
  type LevelWrite = (...args: unknown[]) => unknown;
  /** The database on disk, which all tables share. */
  export type Level = { put: LevelWrite; del: LevelWrite; batch: LevelWrite };
  /** The items of one table, or of one index, by key. */
  export type ItemDb = Rows<Item>;
  export type Store = {
    getTable(name: string, callback: Callback<Table>): void;
    getIndexDb(type: string, table: string, index: string): ItemDb;
    readonly tableDb: Rows<Table>;
    readonly db: Level;
    getItemDb(table: string): Rows<Item> & { createValueStream(options: object): AsyncIterable<Item> };
  };
  /** The functions that dynalite's own operations call through this object. */
  const db: {
    create(options?: object): Store;
    validateKey(key: Item, table: Table): Error | null | undefined;
    createKey(item: Item, table: Table): string;
    updateIndexes(store: Store, table: Table, before: Item | null, item: Item, callback: Callback<unknown>): void;
  };
  export default db;
}

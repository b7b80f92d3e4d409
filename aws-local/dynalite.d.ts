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
declare module 'dynalite/db/index.js' {
  export type Item = Record<string, unknown>;
  export type Table = {
    readonly TableName: string;
    readonly TableArn: string;
    readonly TableStatus: string;
    readonly AttributeDefinitions: readonly object[];
    readonly GlobalSecondaryIndexes?: readonly { readonly IndexName: string; readonly IndexStatus?: string }[];
  };
  export type Callback<T> = (error?: Error | null, value?: T) => void;
  type Rows<Row> = {
    lock(key: string, run: (release: <T>(callback: Callback<T>) => Callback<T>) => void): void;
    get(key: string, callback: Callback<Row>): void;
    put(key: string, row: Row, callback: Callback<unknown>): void;
  };
  export type Store = {
    readonly tableDb: Rows<Table>;
    getItemDb(table: string): Rows<Item> & { createValueStream(options: object): AsyncIterable<Item> };
  };
  /** The functions that dynalite's own operations call through this object. */
  const db: {
    create(options?: object): Store;
    createKey(item: Item, table: Table): string;
    updateIndexes(store: Store, table: Table, before: Item | null, item: Item, callback: Callback<unknown>): void;
  };
  export default db;
}

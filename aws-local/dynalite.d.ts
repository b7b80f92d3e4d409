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
    readonly TableArn: string;
    readonly AttributeDefinitions: readonly object[];
    readonly GlobalSecondaryIndexes?: readonly { readonly IndexName: string; readonly IndexStatus?: string }[];
  };
  type Callback<T> = (error?: Error | null, value?: T) => void;
  export type Store = {
    readonly tableDb: {
      lock(key: string, run: (release: <T>(callback: Callback<T>) => Callback<T>) => void): void;
      get(key: string, callback: Callback<Table>): void;
      put(key: string, table: Table, callback: Callback<unknown>): void;
    };
    getItemDb(table: string): { createValueStream(options: object): AsyncIterable<Item> };
  };
  /** The functions that dynalite's own operations call through this object. */
  const db: {
    create(options?: object): Store;
    updateIndexes(store: Store, table: Table, before: Item | null, item: Item, callback: Callback<unknown>): void;
  };
  export default db;
}

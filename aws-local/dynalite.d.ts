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

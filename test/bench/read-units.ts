import type { AttributeValue, DynamoTable, Item } from '../../registry/dynamodb/table.ts';

/** Bytes that a read unit reads consistently. Half a unit reads as many that may be a moment old. */
const unitBytes = 4096;
/** Bytes of a page of a query or a scan. */
const pageBytes = 1024 * 1024;

/**
 * Bytes of an item: names and values, as DynamoDB counts them.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
 */
export function sizeOf(item: Item): number {
  return Object.entries(item).reduce((sum, [name, value]) => sum + Buffer.byteLength(name) + sizeOfValue(value), 0);
}

function sizeOfValue({ S, N, B, BOOL, NULL, SS, M, L }: AttributeValue): number {
  if (S !== undefined) return Buffer.byteLength(S);
  // two digits a byte, and one more
  if (N !== undefined) return Math.ceil(N.replace(/^-?0*|[.-]|0*$/g, '').length / 2) + 1 + (N.startsWith('-') ? 1 : 0);
  // dynalite has bytes as their base64
  if (B !== undefined) return typeof B === 'string' ? Buffer.from(B, 'base64').length : B.byteLength;
  if (BOOL !== undefined || NULL !== undefined) return 1;
  if (SS !== undefined) return SS.reduce((sum, each) => sum + Buffer.byteLength(each), 0);
  if (M !== undefined) return 3 + Object.keys(M).length + sizeOf(M);
  return 3 + (L ?? []).reduce((sum, each) => sum + 1 + sizeOfValue(each), 0);
}

/** Read units of what one call reads. Nothing costs as much as the least. */
export const unitsOf = (bytes: number, consistent: boolean): number =>
  Math.max(1, Math.ceil(bytes / unitBytes)) * (consistent ? 1 : 0.5);

export type Reads = { readonly units: number; readonly calls: Readonly<Record<string, number>> };

/** A table of which each read is counted. A query is counted by its pages, each of which is a call. */
export function createReadMeter(table: DynamoTable): { readonly table: DynamoTable; take(): Reads } {
  let [units, calls] = [0, {} as Record<string, number>];
  const count = (call: string, bytes: number, consistent: boolean) => {
    units += unitsOf(bytes, consistent);
    calls[call] = (calls[call] ?? 0) + 1;
  };
  async function* paged(call: string, rows: AsyncIterable<Item>, consistent: boolean): AsyncGenerator<Item> {
    let bytes = 0;
    for await (const item of rows) {
      const size = sizeOf(item);
      if (bytes + size > pageBytes) {
        count(call, bytes, consistent);
        bytes = 0;
      }
      bytes += size;
      yield item;
    }
    count(call, bytes, consistent);
  }
  return {
    table: {
      ...table,
      async get(key) {
        const item = await table.get(key);
        count('GetItem', item === undefined ? 0 : sizeOf(item), true);
        return item;
      },
      async glance(key) {
        const item = await table.glance(key);
        count('GetItem, eventually consistent', item === undefined ? 0 : sizeOf(item), false);
        return item;
      },
      query: (of) => paged('Query', table.query(of), false),
      scan: (pageSize) => paged('Scan', table.scan(pageSize), true),
    },
    take() {
      const taken = { units, calls };
      [units, calls] = [0, {}];
      return taken;
    },
  };
}

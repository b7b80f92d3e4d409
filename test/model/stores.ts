import type { Device } from '../../registry/device.ts';
import { claimAttributes, claimRowsIn, createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { itemOf, propertiesOf } from '../../registry/dynamodb/attributes.ts';
import { deviceAttributes, deviceOf } from '../../registry/dynamodb/device-attributes.ts';
import { keyAttribute } from '../../registry/dynamodb/named-attributes.ts';
import type { Item } from '../../registry/dynamodb/table.ts';
import { createMemoryRegistry, memoryRows } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import type { Rows } from '../../registry/rows.ts';
import type { ClaimRow } from '../../registry/rules/claim-certificates.ts';
import { createMemoryDynamo, withBase64, withBytes } from '../fakes/memory-dynamodb.ts';

/** The rows of one kind, for the explorer to set up and to judge. */
export type ModelRows<Row = Device> = Pick<Map<string, Row>, 'get' | 'size'> & {
  values(): Iterable<Row>;
  set(key: string, row: Row): void;
};

type OpenStore = (makeId: () => string) => {
  readonly registry: Registry;
  readonly rows: ModelRows;
  /** of the claim certificates */
  readonly claims: Rows<ClaimRow>;
  readonly claimRows: ModelRows<ClaimRow>;
};

const claimPrefix = '#claim';

function rowsIn<Row>(
  items: Map<string, Item>,
  isOne: (key: string) => boolean,
  read: (item: Item) => Row,
  write: (row: Row) => Item,
): ModelRows<Row> {
  const ours = () => [...items].filter(([key]) => isOne(key));
  return {
    get(key) {
      const item = items.get(key);
      return item && read(withBytes(item));
    },
    values: () => ours().map(([, item]) => read(withBytes(item))),
    get size() {
      return ours().length;
    },
    set: (key, row) => void items.set(key, withBase64({ ...write(row), [keyAttribute]: { S: key } })),
  };
}

/**
 * Where the table of an exploration is. `memory` is three times as fast; `dynamodb` evaluates the conditions and updates that the
 * adapter for DynamoDB sends, with the evaluation of dynalite.
 */
export const stores = {
  memory(makeId) {
    const rows = new Map<string, Device>();
    const claimRows = new Map<string, ClaimRow>();
    const registry = createMemoryRegistry(rows, makeId as Parameters<typeof createMemoryRegistry>[1]);
    return { registry, rows, claims: memoryRows(claimRows), claimRows };
  },
  dynamodb(makeId) {
    const { table, items } = createMemoryDynamo();
    const rows = rowsIn(
      items,
      (key) => !key.startsWith(claimPrefix),
      deviceOf,
      (device) => itemOf(deviceAttributes, device),
    );
    const claimRows = rowsIn(
      items,
      (key) => key.startsWith(claimPrefix),
      (item) => propertiesOf(claimAttributes, item) as ClaimRow,
      (row) => itemOf(claimAttributes, row),
    );
    const { registry } = createAssociationTable(table, makeId, () => 0);
    return { registry, rows, claims: claimRowsIn(table), claimRows };
  },
} satisfies Record<string, OpenStore>;

export type Store = keyof typeof stores;

import type { Device } from '../../registry/device.ts';
import { createAssociationTable } from '../../registry/dynamodb/association-table.ts';
import { itemOf } from '../../registry/dynamodb/attributes.ts';
import { deviceAttributes, deviceOf } from '../../registry/dynamodb/device-attributes.ts';
import { createMemoryRegistry } from '../../registry/memory.ts';
import type { Registry } from '../../registry/registry.ts';
import { createMemoryDynamo, withBase64, withBytes } from '../fakes/memory-dynamodb.ts';

/** The rows of the devices, for the explorer to set up and to judge. */
export type ModelRows = Pick<Map<string, Device>, 'get' | 'size'> & {
  values(): Iterable<Device>;
  set(serial: string, device: Device): void;
};

type OpenStore = (makeId: () => string) => { readonly registry: Registry; readonly rows: ModelRows };

/**
 * Where the table of an exploration is. `memory` is three times as fast; `dynamodb` evaluates the conditions and updates that the
 * adapter for DynamoDB sends, with the evaluation of dynalite.
 */
export const stores = {
  memory(makeId) {
    const rows = new Map<string, Device>();
    return { registry: createMemoryRegistry(rows, makeId), rows };
  },
  dynamodb(makeId) {
    const { table, items } = createMemoryDynamo();
    const rows: ModelRows = {
      get(serial) {
        const item = items.get(serial);
        return item && deviceOf(withBytes(item));
      },
      *values() {
        for (const item of items.values()) yield deviceOf(withBytes(item));
      },
      get size() {
        return items.size;
      },
      set: (serial, device) => void items.set(serial, withBase64(itemOf(deviceAttributes, device))),
    };
    return { registry: createAssociationTable(table, makeId, () => 0).registry, rows };
  },
} satisfies Record<string, OpenStore>;

export type Store = keyof typeof stores;

import type { Restoration } from '../restoration.ts';
import type { Rows } from '../rows.ts';

export type RestorationRow = { readonly restoredAt?: number };

const key = '#restored';

export function createRestoration(rows: Rows<RestorationRow>): Restoration {
  return {
    async note(restoredAt) {
      await rows.upsert(key, { set: { restoredAt } });
    },
    latest: async () => (await rows.find(key))?.restoredAt,
  };
}

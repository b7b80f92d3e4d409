import type { Restoration } from '../restoration.ts';
import { any, conditionsOn, type Rows } from '../rows.ts';

export type RestorationRow = { readonly restoredAt?: number };

const { isMissing, isAtMost } = conditionsOn<RestorationRow>();

const key = '#restored';

export function createRestoration(rows: Rows<RestorationRow>): Restoration {
  return {
    async note(restoredAt) {
      // an operator's clock may be behind, and must not take back what is known
      await rows.upsert(key, { set: { restoredAt } }, any(isMissing('restoredAt'), isAtMost('restoredAt', restoredAt)));
    },
    latest: async () => (await rows.find(key))?.restoredAt,
  };
}

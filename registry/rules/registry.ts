import type { Registry } from '../registry.ts';
import { createAttempts } from './attempts.ts';
import type { KeyedRows } from './bound-keys.ts';
import { createCameAlive } from './came-alive.ts';
import { createDecisions } from './decisions.ts';
import { createDeletions } from './deletions.ts';
import { createDevices } from './devices.ts';
import { createReconciliation } from './reconciliation.ts';
import { createTakeover } from './takeover.ts';

/** @param makeId makes an id that no claim ever had */
export function createRegistry(store: KeyedRows, makeId: () => string): Registry {
  const { devices } = store;
  return {
    ...createDevices(devices),
    ...createAttempts(store, makeId),
    ...createCameAlive(devices),
    ...createDecisions(devices),
    ...createDeletions(devices),
    ...createReconciliation(devices),
    ...createTakeover(devices),
  };
}

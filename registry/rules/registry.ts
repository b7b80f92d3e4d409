import type { Registry } from '../registry.ts';
import type { Rows } from '../rows.ts';
import { createAttempts } from './attempts.ts';
import type { BoundKey } from './bound-keys.ts';
import { createDecisions } from './decisions.ts';
import { createDeletions } from './deletions.ts';
import type { DeviceRows } from './device-rows.ts';
import { createDevices } from './devices.ts';
import { createReconciliation } from './reconciliation.ts';
import { createTakeover } from './takeover.ts';

/** @param makeId makes an id that no claim ever had */
export function createRegistry(devices: DeviceRows, keys: Rows<BoundKey>, makeId: () => string): Registry {
  return {
    ...createDevices(devices),
    ...createAttempts(devices, keys, makeId),
    ...createDecisions(devices),
    ...createDeletions(devices),
    ...createReconciliation(devices),
    ...createTakeover(devices),
  };
}

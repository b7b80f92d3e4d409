import type { Device } from '../device.ts';
import { any, conditionsOn, type Rows, type UpsertBoth, type Write } from '../rows.ts';
import { type DeviceRows, unlessRemoved } from './device-rows.ts';

/** The device to which a public key belongs. */
export type BoundKey = { readonly serial?: string };

/** The rows of devices and of their keys, in one store. */
export type KeyedRows = {
  readonly devices: DeviceRows;
  readonly keys: Rows<BoundKey>;
  readonly upsertBoth: UpsertBoth<Device, BoundKey>;
};

const { is, isMissing } = conditionsOn<BoundKey>();

/** A public key has a row of its own, by its digest. */
const keyOf = (keyDigest: string): string => `#key:${keyDigest}`;

/**
 * Writes to a device's row, and ties a public key to that device, or does neither.
 * @returns `refused`: the condition on the device's row did not hold
 */
export async function writeBinding(
  write: Write<Device> & { readonly keyDigest: string },
  store: KeyedRows,
): Promise<'written' | 'refused' | 'key-taken'> {
  const { key: serial, keyDigest } = write;
  const bind = (condition: Write<BoundKey>['condition']) =>
    store.upsertBoth(write, { key: keyOf(keyDigest), update: { set: { serial } }, condition });
  const [held, isFree] = await bind(any(isMissing('serial'), is({ serial })));
  if (!held) return 'refused';
  if (isFree) return 'written';
  const holder = await holderOf(keyDigest, store);
  if (holder === undefined || holder.isEnrolled) return 'key-taken';
  // the device that had the key was removed
  const [stillHeld, wasFree] = await bind(is({ serial: holder.serial }));
  if (!stillHeld) return 'refused';
  return wasFree ? 'written' : 'key-taken';
}

export async function holderOf(keyDigest: string, { keys, devices }: KeyedRows) {
  const { serial } = (await keys.find(keyOf(keyDigest))) ?? {};
  if (serial === undefined) return undefined;
  return { serial, isEnrolled: unlessRemoved(await devices.find(serial)) !== undefined };
}

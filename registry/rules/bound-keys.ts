import { any, conditionsOn, type Rows } from '../rows.ts';
import { type DeviceRows, unlessRemoved } from './device-rows.ts';

/** The device to which a public key belongs. */
export type BoundKey = { readonly serial?: string };

const { is, isMissing } = conditionsOn<BoundKey>();

/** A public key has a row of its own, by its digest. */
export async function bindKey(
  serial: string,
  keyDigest: string,
  { keys, devices }: { keys: Rows<BoundKey>; devices: DeviceRows },
): Promise<boolean> {
  const [key, set] = [`#key:${keyDigest}`, { serial }];
  if (await keys.upsert(key, { set }, any(isMissing('serial'), is({ serial })))) return true;
  const { serial: holder } = (await keys.find(key)) ?? {};
  if (holder === undefined || unlessRemoved(await devices.find(holder)) !== undefined) return false;
  // the device that had the key was removed
  return (await keys.upsert(key, { set }, is({ serial: holder }))) !== undefined;
}

import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import type { OperatorDeps } from './deps.ts';

/** Why nothing was done to a device. */
export type Refusal =
  | { readonly outcome: 'not-enrolled' }
  /** a worker is provisioning it; try again when its lease is over */
  | { readonly outcome: 'being-provisioned' }
  /** the row changed between reading and writing it; try again */
  | { readonly outcome: 'changed' }
  | { readonly outcome: 'being-removed' }
  /** unblock it first */
  | { readonly outcome: 'is-blocked' };

export type FindDeps = Pick<OperatorDeps, 'now'> & { readonly registry: Pick<Devices, 'find'> };

/** The device, if it is enrolled and no worker is provisioning it at this moment. */
export async function findIdle(
  serial: string,
  { registry, now }: FindDeps,
): Promise<{ readonly outcome: 'found'; readonly device: Device } | Refusal> {
  const device = await registry.find(serial);
  if (device === undefined) return { outcome: 'not-enrolled' };
  if (device.state === 'provisioning' && (device.leaseUntil ?? 0) > now()) return { outcome: 'being-provisioned' };
  return { outcome: 'found', device };
}

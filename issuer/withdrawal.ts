import type { Deletions } from '../registry/deletions.ts';
import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import type { Issuer } from './issuer.ts';

/** The steps of deleting certificates that the worker, the sweeper and the operator's commands share. */
type WithdrawalDeps = {
  readonly registry: Deletions;
  readonly issuer: Pick<Issuer, 'withdraw' | 'deactivate' | 'removeThing'>;
};

/** Deletes the certificates that the row marks for deletion, and notes each as deleted. Safe to repeat, also at once. */
export async function deletePending(
  { serial, pendingDeletion = [] }: Pick<Device, 'serial' | 'pendingDeletion'>,
  { registry, issuer }: WithdrawalDeps,
): Promise<void> {
  for (const certificateId of pendingDeletion) {
    await issuer.withdraw(certificateId);
    await registry.confirmDeleted(serial, certificateId);
  }
}

/**
 * Deletes a certificate that an attempt created or activated, and that the row does not name as the attempt's any more.
 * It is marked for deletion first: if another attempt has adopted the certificate meanwhile, it stays.
 * @returns whether it is deleted
 */
export async function abandonCertificate(
  serial: string,
  certificateId: string,
  deps: WithdrawalDeps & { readonly registry: Pick<Devices, 'find'> },
): Promise<boolean> {
  const outcome = await deps.registry.markForDeletion(serial, certificateId);
  if (outcome === 'in-use') {
    const device = await deps.registry.find(serial);
    if (device?.state === 'blocked') await deps.issuer.deactivate(certificateId);
    return false;
  }
  if (outcome === 'marked') await deletePending({ serial, pendingDeletion: [certificateId] }, deps);
  else await deps.issuer.withdraw(certificateId);
  return true;
}

/**
 * The steps that follow once a removal is decided. Safe to repeat.
 * @returns `waits` while the row may not go yet: a create call is still noted in it, or another decision was written
 */
export async function finishRemoval(
  device: Device,
  deps: WithdrawalDeps & { now(): number },
): Promise<'done' | 'waits'> {
  await deletePending(device, deps);
  if (device.removal === 'with-thing') await deps.issuer.removeThing(device.serial);
  return (await deps.registry.remove(device, deps.now())) ? 'done' : 'waits';
}

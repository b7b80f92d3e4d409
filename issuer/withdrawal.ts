import type { Deletions } from '../registry/deletions.ts';
import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import type { Issuer } from './issuer.ts';

type WithdrawalDeps = { readonly registry: Deletions; readonly issuer: Issuer };

/** Deletes what the row has marked for deletion, and notes that it is gone. Safe to repeat, and for several at once. */
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
 * Takes back a certificate that an attempt made, or made live, and that the row does not name as that attempt's any
 * more. Condemned first: another attempt may have adopted it, and then it stays.
 * @returns whether it is deleted
 */
export async function abandonCertificate(
  serial: string,
  certificateId: string,
  parts: WithdrawalDeps & { readonly registry: Pick<Devices, 'find'> },
): Promise<boolean> {
  const verdict = await parts.registry.markForDeletion(serial, certificateId);
  if (verdict === 'in-use') {
    const row = await parts.registry.find(serial);
    if (row?.state === 'blocked') await parts.issuer.deactivate(certificateId);
    return false;
  }
  if (verdict === 'marked') await deletePending({ serial, pendingDeletion: [certificateId] }, parts);
  else await parts.issuer.withdraw(certificateId);
  return true;
}

/** The rest of a removal that was decided. */
export async function finishRemoval(device: Device, { registry, issuer }: WithdrawalDeps): Promise<'done' | 'waits'> {
  await deletePending(device, { registry, issuer });
  if (device.removal === 'with-thing') await issuer.removeThing(device.serial);
  return (await registry.remove(device)) ? 'done' : 'waits';
}

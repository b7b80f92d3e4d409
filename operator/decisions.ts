import type { Issuer } from '../issuer/issuer.ts';
import { deletePending, finishRemoval } from '../issuer/withdrawal.ts';
import type { Device, NewToken, Registry, Removal } from '../registry/registry.ts';

/**
 * What an operator does to one device. Each begins with one conditional write that decides, and from which on no attempt
 * under way can write any more; what follows may be repeated, and is finished by the sweeper when it is interrupted.
 * `changed`: the row is not as it was read; nothing was done.
 */
type DecisionDeps = {
  readonly registry: Registry;
  issuer(): Promise<Issuer>;
  /** called as soon as it is decided, whatever becomes of the rest: what is decided is to be on record */
  decided?(): void;
};

/** A new token. The certificate in use works until the new one goes live; a half-done one goes now. */
export async function reissue(
  device: Device,
  token: NewToken,
  { registry, issuer, decided }: DecisionDeps,
): Promise<'done' | 'changed'> {
  if (!(await registry.reissue(device, token))) return 'changed';
  decided?.();
  const row = await registry.find(device.serial);
  if (row?.pendingDeletion !== undefined) await deletePending(row, { registry, issuer: await issuer() });
  return 'done';
}

/** The table first: from then on no attempt can finish. Then the certificates, also when the table said so already. */
export async function block(device: Device, { registry, issuer, decided }: DecisionDeps): Promise<'done' | 'changed'> {
  if (device.state !== 'blocked' && !(await registry.block(device))) return 'changed';
  decided?.();
  for (const id of [device.certificateId, device.previousCertificateId])
    if (id !== undefined) await (await issuer()).deactivate(id);
  return 'done';
}

export async function unblock(
  device: Device,
  { registry, issuer, decided }: DecisionDeps,
): Promise<'done' | 'changed'> {
  if (device.state === 'blocked' && !(await registry.unblock(device))) return 'changed';
  decided?.();
  // one that never went live is activated by the cycle, when it is attached; one that is being replaced still works
  const live = device.issuedAt === undefined ? device.previousCertificateId : device.certificateId;
  if (live !== undefined) await (await issuer()).activate(live);
  return 'done';
}

/** `waits`: everything is gone but the row, which stays until a sweep has looked for what a lost answer may have left. */
export async function remove(
  device: Device,
  removal: Removal,
  { registry, issuer, decided }: DecisionDeps,
): Promise<'done' | 'changed' | 'waits'> {
  if (device.removal === undefined && !(await registry.retire(device, removal))) return 'changed';
  decided?.();
  const row = await registry.find(device.serial);
  if (row?.removal === undefined) return 'done';
  return finishRemoval(row, { registry, issuer: await issuer() });
}

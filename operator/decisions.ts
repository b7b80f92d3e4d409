import { finishRemoval } from '../issuer/withdrawal.ts';
import type { Device, Removal } from '../registry/device.ts';
import { announce } from './announce.ts';
import type { OperatorDeps } from './deps.ts';
import { findIdle, noPatience, type Patience, type Refusal, untilItStands, urgentTries } from './device.ts';
import { type FollowUp, followUp } from './follow-up.ts';

/*
 * The first of these calls is decided by one conditional write to the table: from then on no attempt under way can write
 * any more. A repeated one goes straight to AWS. What follows in AWS IoT Core may be repeated, and the sweep finishes a block or a removal that was
 * interrupted.
 */

export type DecisionDeps = Pick<OperatorDeps, 'registry' | 'issuer' | 'announce' | 'audit' | 'now'>;

export type BlockOutcome = ({ readonly outcome: 'blocked' } & FollowUp) | Refusal;

/**
 * Refuses the device every certificate, and makes the certificates that it has INACTIVE. It is for emergencies: it ends an
 * attempt that is under way, whatever its lease, and tries again when the row changed meanwhile. Safe to repeat.
 */
export function block(serial: string, deps: DecisionDeps): Promise<BlockOutcome> {
  return untilItStands(urgentTries, async () => {
    const device = await deps.registry.find(serial);
    if (device === undefined) return { outcome: 'not-enrolled' };
    if (device.state !== 'blocked' && !(await deps.registry.block(device))) return { outcome: 'changed' };
    deps.audit.record('blocked', { serial });
    const steps = certificatesOf(device).map((id) => () => deps.issuer.deactivate(id));
    const rest = await followUp(steps);
    // then the brokers drop the device's better right to its slots
    return { outcome: 'blocked', ...(await announce([serial], deps, device.site)), ...rest };
  });
}

export type UnblockOutcome =
  /** `goneCertificate`: somebody deleted it in AWS. It comes back by `reissue` only: until then the device is refused as served */
  ({ readonly outcome: 'unblocked'; readonly goneCertificate?: string } & FollowUp) | Refusal;

/** Undoes a block. Safe to repeat. */
export async function unblock(serial: string, deps: DecisionDeps): Promise<UnblockOutcome> {
  const found = await findIdle(serial, deps);
  if (found.outcome !== 'found') return found;
  const { device } = found;
  if (device.removal !== undefined) return { outcome: 'being-removed' };
  if (device.state === 'unknown') return { outcome: 'state-unknown' };
  if (device.state === 'blocked' && !(await deps.registry.unblock(device))) return { outcome: 'changed' };
  deps.audit.record('unblocked', { serial });
  const live = liveCertificateOf(device);
  let gone: { goneCertificate?: string } = {};
  const activate = async (id: string) => {
    if ((await activateIfThere(id, deps)) === 'activated') return;
    // a certificate that is being replaced is not needed any more: the device has a token for the next one
    if (id === device.certificateId) gone = { goneCertificate: id };
  };
  const rest = await followUp(live === undefined ? [] : [() => activate(live)]);
  return { outcome: 'unblocked', ...gone, ...(await announce([serial], deps, device.site)), ...rest };
}

/** @throws why AWS refused, unless the certificate is gone */
async function activateIfThere(certificateId: string, { issuer }: DecisionDeps): Promise<'activated' | 'gone'> {
  try {
    await issuer.activate(certificateId);
    return 'activated';
  } catch (error) {
    const isGone = await issuer.describeCertificate(certificateId).then(
      (found) => found === undefined,
      () => false,
    );
    if (isGone) return 'gone';
    throw error;
  }
}

export type RemoveOutcome =
  /** `row` stays until a sweep has looked for a certificate whose create call got no answer */
  ({ readonly outcome: 'removed'; readonly row: 'gone' | 'stays' } & FollowUp) | Refusal;

/** Deletes the certificates of a device, its thing (unless it is to be kept), and its row. Safe to repeat: the latest choice about the thing counts. */
export function remove(
  serial: string,
  removal: Removal,
  deps: DecisionDeps,
  patience: Patience = noPatience,
): Promise<RemoveOutcome> {
  return untilItStands(patience.force ? urgentTries : 1, () => removeOnce(serial, removal, deps, patience));
}

async function removeOnce(
  serial: string,
  removal: Removal,
  deps: DecisionDeps,
  patience: Patience,
): Promise<RemoveOutcome> {
  const found = await findIdle(serial, deps, patience);
  if (found.outcome !== 'found') return found;
  const { device } = found;
  if (device.removal !== removal && !(await deps.registry.retire(device, removal))) return { outcome: 'changed' };
  deps.audit.record('removed', { serial });
  let row: 'gone' | 'stays' = 'stays';
  const rest = await followUp([
    async () => {
      const retired = await deps.registry.find(serial);
      if (retired?.removal === undefined || (await finishRemoval(retired, deps)) === 'done') row = 'gone';
    },
  ]);
  return { outcome: 'removed', row, ...(await announce([serial], deps, device.site)), ...rest };
}

function certificatesOf({ certificateId, previousCertificateId }: Device): string[] {
  return [certificateId, previousCertificateId].filter((id) => id !== undefined);
}

/**
 * The certificate that a device works with. One that never went live is activated by the attempt that attaches it; while
 * a device is being reissued, its previous one still works.
 */
function liveCertificateOf({ issuedAt, certificateId, previousCertificateId }: Device): string | undefined {
  return issuedAt === undefined ? previousCertificateId : certificateId;
}

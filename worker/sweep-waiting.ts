import { abandonCertificate } from '../issuer/withdrawal.ts';
import { claimName } from '../queue/provisioning-request.ts';
import { type ClaimCertificate, type WaitingCertificate, waitingMs } from '../registry/claim-certificates.ts';
import type { LostIntent, SweepRun } from './sweep-findings.ts';
import { repair } from './sweep-repair.ts';

/** The certificates that no device's row names yet, for the sweep. */
export type WaitingFound = {
  /** ids of certificates that wait, or are dealt with here: they are no orphans */
  readonly known: ReadonlySet<string>;
  /** create calls whose answer was lost: their certificates are looked for */
  readonly lost: readonly LostIntent[];
};

/** How long a claim certificate is still listed after its end, with the devices that it served. Milliseconds. */
const keptMs = 30 * 86_400_000;

const hasEndedBefore = (time: number, { endsAt, revokedAt = endsAt }: ClaimCertificate): boolean =>
  Math.min(endsAt, revokedAt) <= time;

/**
 * Ends the certificates that wait for a device by a claim certificate: after an hour, and at once where that is revoked. What is over is
 * deleted; what was given to a device is forgotten when its row names it, and over otherwise. A claim certificate that ended long ago is
 * forgotten itself, so that the table does not grow with each batch of devices.
 */
export async function endWaiting(run: SweepRun): Promise<WaitingFound> {
  const { claims, stopped } = run;
  const [known, lost] = [new Set<string>(), [] as LostIntent[]];
  for (const claim of (await claims?.list()) ?? []) {
    if (stopped?.()) break;
    const list = await claims?.waiting(claim.id);
    for (const each of Object.values(list ?? {}).flat())
      if (each.certificateId !== undefined) known.add(each.certificateId);
    await repair(run, { serial: claimName(claim.id) }, () => endThose(claim, run));
    if (hasEndedBefore(run.startedAt - keptMs, claim) && !run.dryRun)
      await claims?.remove(claim.id, run.startedAt - keptMs);
    for (const { id, at, keyDigest } of (await claims?.waiting(claim.id))?.over.filter(hasNoCertificate) ?? [])
      lost.push({
        id,
        at,
        ...(keyDigest === undefined ? {} : { keyDigest }),
        serial: claimName(claim.id),
        claim: claim.id,
      });
  }
  return { known, lost };
}

const hasNoCertificate = ({ certificateId }: WaitingCertificate): boolean => certificateId === undefined;

async function endThose({ id, revokedAt }: ClaimCertificate, run: SweepRun): Promise<void> {
  const { claims, startedAt, before, dryRun } = run;
  if (claims === undefined) return;
  const { intended, waiting, given } = await claims.waiting(id);
  const isOver = ({ at }: WaitingCertificate) => at + waitingMs <= startedAt || revokedAt !== undefined;
  // an attempt may still be under way
  for (const each of given) if (each.at + waitingMs <= before) await settleGiven(id, each, run);
  if (!dryRun)
    for (const each of [...waiting, ...intended])
      if (isOver(each) && (each.certificateId !== undefined || each.at < before)) await claims.end(id, each);
  for (const each of (await claims.waiting(id)).over) await deleteOver(id, each, run);
}

async function settleGiven(
  claim: string,
  given: WaitingCertificate,
  { claims, registry, dryRun }: SweepRun,
): Promise<void> {
  if (dryRun || given.serial === undefined) return;
  const device = await registry.find(given.serial);
  if (device !== undefined && device.certificateId === given.certificateId) await claims?.forget(claim, given);
  else await claims?.takeBack(claim, given);
}

async function deleteOver(claim: string, over: WaitingCertificate, run: SweepRun): Promise<void> {
  const { claims, issuer, dryRun, report, stopped } = run;
  const { certificateId, serial } = over;
  if (certificateId === undefined || stopped?.()) return;
  const about = serial === undefined ? { certificateId } : { serial, certificateId };
  if (!dryRun) {
    // an attempt for this device may still be at it: the mark in its row keeps that off
    const gone = serial === undefined || (await abandonCertificate(serial, certificateId, run));
    if (serial === undefined) await issuer.withdraw(certificateId);
    await claims?.forget(claim, over);
    if (!gone) return;
  }
  report({ kind: 'certificate-unclaimed', ...about, action: 'withdrawn' });
}

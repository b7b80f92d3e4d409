import type { CertificateSummary } from '../issuer/issuer.ts';
import { isSerial } from '../protocol/serial.ts';
import type { SweepRun } from './sweep-findings.ts';
import { repair } from './sweep-repair.ts';

/**
 * Looks for ACTIVE certificates of our devices that no row names. The device may be using one of them, so it is reported and not
 * touched; after a reissue, the next attempt deletes it.
 */
export async function judgeActives(certificates: readonly CertificateSummary[], run: SweepRun): Promise<void> {
  const { foreign, stopped } = run;
  for (const { certificateId } of foreign?.choose(certificates) ?? certificates) {
    if (stopped?.()) return;
    await repair(run, { certificateId }, () => judgeActive(certificateId, run));
  }
}

async function judgeActive(certificateId: string, { registry, issuer, report, foreign }: SweepRun): Promise<void> {
  for (const thing of await issuer.thingsOf(certificateId)) {
    const device = isSerial(thing) ? await registry.find(thing) : undefined;
    if (device === undefined) continue;
    const { serial, certificateId: its, previousCertificateId, pendingDeletion = [] } = device;
    // it may have been vended since the table was read
    if ([its, previousCertificateId, ...pendingDeletion].includes(certificateId)) return;
    const cure = `cvm devices reissue ${serial}: its next certificate replaces all others`;
    return report({ kind: 'certificate-unexpected', serial, certificateId, action: 'reported', cure });
  }
  foreign?.add(certificateId);
  report({ kind: 'certificate-unknown', certificateId, action: 'reported' });
}

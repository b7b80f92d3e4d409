import { type CertificateSummary, clockSkewMs } from '../issuer/issuer.ts';
import { abandonCertificate } from '../issuer/withdrawal.ts';
import { isSerial } from '../protocol/serial.ts';
import { createWindowMs, type FindingKind, type LostIntent, type SweepRun } from './sweep-findings.ts';
import { repair } from './sweep-repair.ts';

/** The subject of the certificates that CreateKeysAndCertificate makes. */
const awsKeySubject = 'AWS IoT Certificate';

/**
 * Judges INACTIVE certificates that no row names. A certificate with the key of a create intent, or with our owner tag, is
 * ours. A certificate for a key that AWS made can be judged by its time only.
 * @returns those that could not be looked at
 */
export async function judgeOrphans(
  unnamed: readonly CertificateSummary[],
  lost: readonly LostIntent[],
  run: SweepRun,
): Promise<readonly CertificateSummary[]> {
  const { issuer, report, stopped, ownerTag } = run;
  const byKey = new Map(lost.flatMap((call) => (call.keyDigest === undefined ? [] : [[call.keyDigest, call.serial]])));
  const madeByAws: CertificateSummary[] = [];
  const tagged: [serial: string, certificate: CertificateSummary][] = [];
  const unjudged: CertificateSummary[] = [];
  for (const each of unnamed) {
    if (stopped?.()) return unjudged;
    const { certificateId } = each;
    const described = await repair(run, { certificateId }, () => issuer.describeCertificate(certificateId));
    if (described === undefined) unjudged.push(each);
    const found = described?.result;
    if (found?.status !== 'inactive') continue;
    const { O, OU, CN } = found.subject;
    const serialOfIntent = byKey.get(found.keyDigest);
    if (serialOfIntent !== undefined) await deleteOrphan('answer-lost', serialOfIntent, each, run);
    else if (O === ownerTag.organization && OU === ownerTag.unit && CN !== undefined && isSerial(CN))
      tagged.push([CN, each]);
    else if (CN === awsKeySubject) madeByAws.push(each);
    else report({ kind: 'certificate-unknown', certificateId, action: 'reported' });
  }
  await judgeTagged(tagged, run);
  const lostKeys = lost.filter(({ keyDigest }) => keyDigest === undefined);
  unjudged.push(...(await judgeByTime(madeByAws, lostKeys, unjudged, run)));
  return unjudged;
}

async function judgeTagged(
  tagged: readonly [serial: string, certificate: CertificateSummary][],
  run: SweepRun,
): Promise<void> {
  const { issuer, report, stopped } = run;
  for (const [serial, each] of tagged) {
    if (stopped?.()) return;
    const about = { serial, certificateId: each.certificateId };
    const attached = await repair(run, about, () => issuer.isAttached(each.certificateId));
    // an attempt attaches only the certificate that its row names, so a person has deleted this one's row by hand
    if (attached?.result === true) report({ kind: 'certificate-unnamed', ...about, action: 'reported' });
    else if (attached !== undefined) await deleteOrphan('certificate-unnamed', serial, each, run);
  }
}

/**
 * A certificate for a key that AWS made does not name its device. If a span of time has more such certificates than create intents without an
 * outcome, some belong to others, and the sweep touches none of them.
 * @param unknown certificates of which nothing but their time is known
 * @returns those that could not be looked at
 */
async function judgeByTime(
  candidates: readonly CertificateSummary[],
  lost: readonly LostIntent[],
  unknown: readonly CertificateSummary[],
  run: SweepRun,
): Promise<readonly CertificateSummary[]> {
  const { issuer, report, stopped } = run;
  const unattached: CertificateSummary[] = [];
  const unjudged: CertificateSummary[] = [];
  for (const each of candidates) {
    if (stopped?.()) return unjudged;
    const { certificateId } = each;
    const attached = await repair(run, { certificateId }, () => issuer.isAttached(certificateId));
    if (attached === undefined) unjudged.push(each);
    else if (attached.result) report({ kind: 'certificate-unknown', certificateId, action: 'reported' });
    else unattached.push(each);
  }
  // what could not be looked at counts, and stays
  const left = new Set([...unknown, ...unjudged]);
  for (const { calls, certificates } of spansOf(lost, [...unattached, ...left])) {
    const ours = calls.length >= certificates.length;
    // the calls of a span can have made its certificates in any order: with several devices, whose is whose is a guess
    const isGuess = calls.some(({ serial }) => serial !== calls[0]?.serial);
    for (const [index, each] of certificates.entries()) {
      if (stopped?.()) return unjudged;
      if (left.has(each)) continue;
      const serial = calls[index]?.serial;
      if (ours && serial !== undefined) await deleteOrphan('answer-lost', serial, each, run, isGuess);
      else report({ kind: 'certificate-unknown', certificateId: each.certificateId, action: 'reported' });
    }
  }
  return unjudged;
}

type Span = { from: number; to: number; calls: LostIntent[]; certificates: CertificateSummary[] };

/** Joins intents whose times overlap into spans, each with the certificates of that time. The last span has the certificates without intents. */
function spansOf(lost: readonly LostIntent[], certificates: readonly CertificateSummary[]): Span[] {
  const spans: Span[] = [];
  for (const call of [...lost].sort((a, b) => a.at - b.at)) {
    const [from, to] = [call.at - clockSkewMs, call.at + createWindowMs + clockSkewMs];
    const last = spans.at(-1);
    if (last !== undefined && from <= last.to) {
      last.to = to;
      last.calls.push(call);
    } else spans.push({ from, to, calls: [call], certificates: [] });
  }
  const outside: Span = { from: 0, to: 0, calls: [], certificates: [] };
  for (const each of certificates)
    (spans.find(({ from, to }) => each.createdAt >= from && each.createdAt <= to) ?? outside).certificates.push(each);
  return [...spans, outside];
}

/** @param isGuess the certificate may be that of another device, so the finding names none */
function deleteOrphan(
  kind: FindingKind,
  serial: string,
  { certificateId }: CertificateSummary,
  run: SweepRun,
  isGuess = false,
): Promise<unknown> {
  return repair(run, { serial, certificateId }, async () => {
    const gone = run.dryRun || (await abandonCertificate(serial, certificateId, run));
    run.report({ kind, ...(isGuess ? {} : { serial }), certificateId, action: gone ? 'withdrawn' : 'left' });
  });
}

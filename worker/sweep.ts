import { type CertificateSummary, clockSkewMs, type Issuer } from '../issuer/issuer.ts';
import { abandonCertificate, deletePending, finishRemoval } from '../issuer/withdrawal.ts';
import { isSerial } from '../protocol/serial.ts';
import type { Deletions } from '../registry/deletions.ts';
import type { Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import type { Reconciliation } from '../registry/reconciliation.ts';
import type { OwnerTag } from './ec-key.ts';

export type SweepOptions = {
  readonly registry: Pick<Devices, 'find' | 'list'> & Deletions & Reconciliation;
  /** one that leaves the quotas to those who vend */
  readonly issuer: Issuer;
  /** how our own certificates are marked */
  readonly ownerTag: OwnerTag;
  /** what is younger is left alone: somebody may still be at it. Milliseconds */
  readonly graceMs: number;
  readonly dryRun: boolean;
  now(): number;
  /** each finding, as soon as it is dealt with */
  report(finding: Finding): void;
  /** asked between two steps; ends the sweep early, which loses nothing */
  stopped?(): boolean;
};

/** What a sweep can find. `docs/issuance-cycle.md` says how each comes about. */
export type FindingKind =
  /** an attempt that nobody carried on with */
  | 'attempt-expired'
  /** a certificate whose deletion was decided and not carried out */
  | 'certificate-pending-deletion'
  /** a certificate whose create call got no answer */
  | 'answer-lost'
  /** a certificate with our mark that no row names */
  | 'certificate-unnamed'
  /** a removal that was interrupted */
  | 'removal-unfinished'
  | 'blocked-but-active'
  /** a registered device's certificate is not in AWS IoT Core */
  | 'certificate-missing'
  /** a registered device's certificate is not active */
  | 'certificate-inactive'
  /** a certificate that no row names, and that nothing proves to be ours */
  | 'certificate-unknown';

export type Finding = {
  readonly kind: FindingKind;
  readonly serial?: string;
  readonly certificateId?: string;
  /** `reported`: left as it is, for the operator. `left`: somebody else dealt with it meanwhile. */
  readonly action: 'withdrawn' | 'deactivated' | 'removed' | 'released' | 'reported' | 'left';
  /** what the operator should do, where it is his to do */
  readonly cure?: string;
};

export type SweepSummary = {
  readonly dryRun: boolean;
  readonly devices: number;
  readonly certificates: number;
  readonly findings: Readonly<Partial<Record<FindingKind, number>>>;
  readonly ms: number;
};

/** A create call, noted in a row, whose outcome nobody knows. */
type LostCall = { readonly serial: string; readonly attempt: string; readonly at: number; readonly keyDigest?: string };

/** For so long after it was written down, a create call may still make a certificate. Milliseconds. */
const createWindowMs = 60_000;

/** The subject of what CreateKeysAndCertificate makes. */
const awsKeySubject = 'AWS IoT Certificate';

/**
 * Compares the table with AWS IoT Core, and puts right what was left behind. The account may belong to others, too: what
 * is deleted is what a row has marked for deletion or intended, what bears our mark, or – for keys that AWS made, which leave
 * neither – what is INACTIVE, attached to nothing and was made in the time of a create call of ours without an answer.
 * Everything else is reported.
 */
export async function sweep(options: SweepOptions): Promise<SweepSummary> {
  const { now, dryRun } = options;
  const startedAt = now();
  const counts: Partial<Record<FindingKind, number>> = {};
  const report = (finding: Finding) => {
    counts[finding.kind] = (counts[finding.kind] ?? 0) + 1;
    options.report(finding);
  };
  const run: Run = { ...options, report, startedAt, before: startedAt - options.graceMs };

  const table = await readTable(run);
  const listed = await readCertificates(table, run);
  for (const serial of table.unfinished) await heal(serial, run);
  for (const [certificateId, serial] of listed.mismatched) await compare(serial, certificateId, run);
  await judgeUnnamed(listed.unnamed, table.lost, run);
  // only when everything was looked at, and nothing can appear any more
  const over = table.lost.filter(({ at }) => at + createWindowMs + 2 * clockSkewMs < run.before);
  if (!dryRun && !run.stopped?.()) await resolveLost(over, run);
  return {
    dryRun,
    devices: table.devices,
    certificates: listed.certificates,
    findings: counts,
    ms: now() - startedAt,
  };
}

type Run = SweepOptions & {
  readonly startedAt: number;
  /** epoch milliseconds: what is older is nobody's work in progress */
  readonly before: number;
};

async function readTable({ registry, before }: Run) {
  /** by certificate: whose it is */
  const named = new Map<string, string>();
  const blocked = new Set<string>();
  const unfinished: string[] = [];
  const lost: LostCall[] = [];
  let devices = 0;
  for await (const device of registry.list()) {
    devices++;
    const { serial, certificateId, previousCertificateId, pendingDeletion = [], createIntents = {} } = device;
    for (const id of [certificateId, previousCertificateId, ...pendingDeletion])
      if (id !== undefined) named.set(id, serial);
    if (device.state === 'blocked') blocked.add(serial);
    if (isUnfinished(device, before)) unfinished.push(serial);
    for (const [attempt, call] of Object.entries(createIntents))
      if (call.at < before) lost.push({ serial, attempt, ...call });
  }
  return { named, blocked, unfinished, lost, devices };
}

function isUnfinished(device: Device, before: number): boolean {
  return device.removal !== undefined || device.pendingDeletion !== undefined || isAbandoned(device, before);
}

/** Half done, and for so long that no question waits for it any more. */
function isAbandoned(device: Device, before: number): boolean {
  const halfDone =
    device.state === 'provisioning' || (device.state === 'enrolled' && device.certificateId !== undefined);
  // a row that another tool wrote, and in which no attempt of ours ever was, is not half done
  return halfDone && device.attempt > 0 && device.requestedAt < before && (device.leaseUntil ?? 0) < before;
}

async function readCertificates(
  { named, blocked }: { named: Map<string, string>; blocked: ReadonlySet<string> },
  { issuer, report, before, stopped }: Run,
) {
  const unnamed: CertificateSummary[] = [];
  const mismatched: [certificateId: string, serial: string][] = [];
  const missing = new Map(named);
  let certificates = 0;
  for await (const each of issuer.listCertificates()) {
    if (stopped?.()) break;
    certificates++;
    const { certificateId, status, createdAt } = each;
    const serial = named.get(certificateId);
    missing.delete(certificateId);
    if (serial !== undefined) {
      if ((status === 'active') === blocked.has(serial)) mismatched.push([certificateId, serial]);
    } else if (status !== 'inactive') report({ kind: 'certificate-unknown', certificateId, action: 'reported' });
    else if (createdAt < before) unnamed.push(each);
  }
  if (!stopped?.()) mismatched.push(...missing);
  return { unnamed, mismatched, certificates };
}

/** Carries on with what was decided in a row, or decides what nobody will carry on with. */
async function heal(serial: string, { registry, issuer, report, dryRun, before, stopped }: Run): Promise<void> {
  if (stopped?.()) return;
  let device = await registry.find(serial);
  if (device === undefined) return;
  if (device.removal !== undefined) {
    const done = dryRun || (await finishRemoval(device, { registry, issuer })) === 'done';
    return report({ kind: 'removal-unfinished', serial, action: done ? 'removed' : 'left' });
  }
  const { certificateId: itsCertificate } = device;
  if (isAbandoned(device, before)) {
    const expired = dryRun || (await registry.abandonAttempt(device));
    report({
      kind: 'attempt-expired',
      serial,
      ...(itsCertificate === undefined ? {} : { certificateId: itsCertificate }),
      action: !expired ? 'left' : itsCertificate === undefined ? 'released' : 'withdrawn',
    });
    device = dryRun ? device : await registry.find(serial);
  }
  for (const certificateId of device?.pendingDeletion ?? []) {
    if (!dryRun) await deletePending({ serial, pendingDeletion: [certificateId] }, { registry, issuer });
    if (certificateId !== itsCertificate)
      report({ kind: 'certificate-pending-deletion', serial, certificateId, action: 'withdrawn' });
  }
}

/** A certificate that is not what its row says: looked at again, since both may have changed since they were read. */
async function compare(serial: string, certificateId: string, run: Run): Promise<void> {
  const { registry, issuer, report, dryRun, stopped, before } = run;
  if (stopped?.()) return;
  const device = await registry.find(serial);
  if (device?.certificateId !== certificateId && device?.previousCertificateId !== certificateId) return;
  // of an attempt under way, nothing is expected yet
  const settled = device.state === 'blocked' || (device.state === 'registered' && (device.issuedAt ?? 0) < before);
  if (!settled) return;
  const status = (await issuer.describeCertificate(certificateId))?.status;
  if (device.state === 'blocked') {
    if (status !== 'active') return;
    if (!dryRun) await issuer.deactivate(certificateId);
    return report({ kind: 'blocked-but-active', serial, certificateId, action: 'deactivated' });
  }
  if (status === 'active') return;
  if (status === undefined)
    report({
      kind: 'certificate-missing',
      serial,
      certificateId,
      action: 'reported',
      cure: `cvm devices reissue ${serial}`,
    });
  else
    report({
      kind: 'certificate-inactive',
      serial,
      certificateId,
      action: 'reported',
      cure: `cvm devices unblock ${serial}, if it is to work`,
    });
}

async function judgeUnnamed(
  unnamed: readonly CertificateSummary[],
  lost: readonly LostCall[],
  run: Run,
): Promise<void> {
  const { issuer, report, stopped, ownerTag } = run;
  const byKey = new Map(lost.flatMap((call) => (call.keyDigest === undefined ? [] : [[call.keyDigest, call.serial]])));
  const nameless: CertificateSummary[] = [];
  const marked: [serial: string, certificate: CertificateSummary][] = [];
  for (const each of unnamed) {
    if (stopped?.()) return;
    const found = await issuer.describeCertificate(each.certificateId);
    if (found?.status !== 'inactive') continue;
    const { O, OU, CN } = found.subject;
    const intendedBy = byKey.get(found.keyDigest);
    if (intendedBy !== undefined) await takeBack('answer-lost', intendedBy, each, run);
    else if (O === ownerTag.organization && OU === ownerTag.unit && CN !== undefined && isSerial(CN))
      marked.push([CN, each]);
    else if (CN === awsKeySubject) nameless.push(each);
    else report({ kind: 'certificate-unknown', certificateId: each.certificateId, action: 'reported' });
  }
  await judgeMarked(marked, run);
  await judgeByTime(
    nameless,
    lost.filter(({ keyDigest }) => keyDigest === undefined),
    run,
  );
}

async function judgeMarked(
  marked: readonly [serial: string, certificate: CertificateSummary][],
  run: Run,
): Promise<void> {
  const { issuer, report, stopped } = run;
  for (const [serial, each] of marked) {
    if (stopped?.()) return;
    // an attempt attaches only what its row names: this one had a row, and somebody deleted that by hand
    if (await issuer.isAttached(each.certificateId))
      report({ kind: 'certificate-unnamed', serial, certificateId: each.certificateId, action: 'reported' });
    else await takeBack('certificate-unnamed', serial, each, run);
  }
}

/**
 * Certificates for keys that AWS made say nothing of whom they are for. More of them in a span of time than we have calls
 * without an answer there means that some are another's: then none is touched.
 */
async function judgeByTime(
  candidates: readonly CertificateSummary[],
  lost: readonly LostCall[],
  run: Run,
): Promise<void> {
  const { issuer, report, stopped } = run;
  const unattached: CertificateSummary[] = [];
  for (const each of candidates) {
    if (stopped?.()) return;
    if (await issuer.isAttached(each.certificateId))
      report({ kind: 'certificate-unknown', certificateId: each.certificateId, action: 'reported' });
    else unattached.push(each);
  }
  for (const { calls, certificates } of spansOf(lost, unattached)) {
    const ours = calls.length >= certificates.length;
    for (const [index, each] of certificates.entries()) {
      if (stopped?.()) return;
      const serial = calls[index]?.serial;
      if (ours && serial !== undefined) await takeBack('answer-lost', serial, each, run);
      else report({ kind: 'certificate-unknown', certificateId: each.certificateId, action: 'reported' });
    }
  }
}

type Span = { from: number; to: number; calls: LostCall[]; certificates: CertificateSummary[] };

/** The calls, put together where their times overlap, each with the certificates of that time; the rest in spans without calls. */
function spansOf(lost: readonly LostCall[], certificates: readonly CertificateSummary[]): Span[] {
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

async function takeBack(
  kind: FindingKind,
  serial: string,
  { certificateId }: CertificateSummary,
  run: Run,
): Promise<void> {
  const gone = run.dryRun || (await abandonCertificate(serial, certificateId, run));
  run.report({ kind, serial, certificateId, action: gone ? 'withdrawn' : 'left' });
}

/** What these calls may have left has been looked for. */
async function resolveLost(lost: readonly LostCall[], { registry, issuer, stopped }: Run): Promise<void> {
  const bySerial = new Map<string, string[]>();
  for (const { serial, attempt } of lost) bySerial.set(serial, [...(bySerial.get(serial) ?? []), attempt]);
  for (const [serial, attempts] of bySerial) {
    if (stopped?.()) return;
    const device = await registry.find(serial);
    if (device === undefined) continue;
    await registry.clearCreateIntents(
      device,
      attempts.filter((attempt) => device.createIntents?.[attempt] !== undefined),
    );
    // a removal that waited for this is done now
    const rest = device.removal === undefined ? undefined : await registry.find(serial);
    if (rest !== undefined) await finishRemoval(rest, { registry, issuer });
  }
}

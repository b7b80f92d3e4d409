import { type CertificateSummary, clockSkewMs } from '../issuer/issuer.ts';
import { deletePending, finishRemoval } from '../issuer/withdrawal.ts';
import { createIntentsOf, textOf } from '../registry/create-intents.ts';
import type { Device } from '../registry/device.ts';
import { cureOf, faultOf } from '../registry/row-faults.ts';
import { judgeActives } from './sweep-actives.ts';
import {
  createWindowMs,
  type Finding,
  type FindingKind,
  type LostIntent,
  type SweepOptions,
  type SweepRun,
  type SweepSummary,
} from './sweep-findings.ts';
import { enterInIndex, isUnindexed, type Unindexed } from './sweep-index.ts';
import { eraseReplies, isReplyOverdue, judgeRemoved } from './sweep-leftovers.ts';
import { judgeOrphans } from './sweep-orphans.ts';
import { repair } from './sweep-repair.ts';
import { endWaiting } from './sweep-waiting.ts';

/**
 * Compares the table with AWS IoT Core and repairs what crashes left behind. The account may have other users, so only these
 * certificates are deleted: those that a row marks for deletion, and INACTIVE ones that no row names and that have the key of a
 * create intent; or have our owner tag and are attached to nothing; or, for keys that AWS made, are attached to nothing and as
 * old as a create intent without an outcome. All others are reported.
 */
export async function sweep(options: SweepOptions): Promise<SweepSummary> {
  const { now, dryRun } = options;
  const startedAt = now();
  const counts: Partial<Record<FindingKind, number>> = {};
  const report = (finding: Finding) => {
    counts[finding.kind] = (counts[finding.kind] ?? 0) + 1;
    options.report(finding);
  };
  const failures = { serials: new Set<string>(), inARow: 0 };
  const run: SweepRun = { ...options, report, startedAt, before: startedAt - options.graceMs, failures };

  const waiting = await endWaiting(run);
  const table = await readTable(run);
  table.lost.push(...waiting.lost.filter(({ at }) => at < run.before));
  if (!dryRun) await eraseReplies(table.overdue, run);
  const entered = dryRun ? 0 : await enterInIndex(table.unindexed, run);
  const listed = await readCertificates({ ...table, waiting: waiting.known }, run);
  for (const serial of table.unfinished) await repair(run, { serial }, () => finishRow(serial, run));
  for (const [certificateId, serial] of listed.mismatched)
    await repair(run, { serial, certificateId }, () => compare(serial, certificateId, run));
  const unjudged = await judgeOrphans(listed.unnamed, table.lost, run);
  await judgeActives(listed.actives, run);
  await judgeRemoved(table.removed, run);
  // only after everything was compared, and when no certificate can appear any more
  const over = table.lost.filter(
    ({ serial, at }) =>
      at + createWindowMs + 2 * clockSkewMs < run.before &&
      !failures.serials.has(serial) &&
      !unjudged.some(
        ({ createdAt }) => createdAt >= at - clockSkewMs && createdAt <= at + createWindowMs + clockSkewMs,
      ),
  );
  if (!dryRun && !run.stopped?.()) await clearLostIntents(over, run);
  return {
    complete: !run.stopped?.(),
    dryRun,
    devices: table.devices,
    certificates: listed.certificates,
    findings: counts,
    ...(entered === 0 ? {} : { entered }),
    ms: now() - startedAt,
  };
}

async function readTable(run: SweepRun) {
  const { registry, before, report, table } = run;
  /** certificate id → serial of the row that names it */
  const named = new Map<string, string>();
  /** certificate id → serials, where several rows name it */
  const shared = new Map<string, string[]>();
  const blocked = new Set<string>();
  const unfinished: string[] = [];
  const lost: LostIntent[] = [];
  const [removed, overdue, unindexed]: [Device[], Device[], Unindexed[]] = [[], [], []];
  const hasIndex = (await run.sites?.isUsed()) ?? false;
  let devices = 0;
  for await (const device of registry.listAll()) {
    if (device.removedAt !== undefined) {
      removed.push(device);
      continue;
    }
    devices++;
    run.look?.(device);
    if (hasIndex && isUnindexed(device)) unindexed.push({ serial: device.serial, site: device.site });
    if (isReplyOverdue(device, run)) overdue.push(device);
    const { serial, certificateId, previousCertificateId, pendingDeletion = [] } = device;
    const fault = faultOf(device);
    const other = certificateId === undefined ? undefined : named.get(certificateId);
    if (certificateId !== undefined && other !== undefined)
      shared.set(certificateId, [...(shared.get(certificateId) ?? [other]), serial]);
    // one fault at a time: the cure of the first may end the other one
    if (
      certificateId === undefined &&
      fault === undefined &&
      device.state === 'registered' &&
      !isUnfinished(device, before)
    )
      report({ kind: 'certificate-missing', serial, action: 'reported', cure: `cvm devices reissue ${serial}` });
    for (const id of [certificateId, previousCertificateId, ...pendingDeletion])
      if (id !== undefined) named.set(id, serial);
    if (device.state === 'blocked') blocked.add(serial);
    if (isUnfinished(device, before)) unfinished.push(serial);
    if (fault !== undefined && device.removal === undefined)
      report({ kind: 'row-faulty', serial, action: 'reported', cure: cureOf(fault, serial, table) });
    for (const intent of createIntentsOf(device)) if (intent.at < before) lost.push({ ...intent, serial });
  }
  return { named, shared, blocked, unfinished, lost, removed, overdue, unindexed, devices };
}

/** A certificate in AWS that several rows name: only another tool writes that. */
function reportShared(certificateId: string, serials: readonly string[], report: SweepRun['report']): void {
  const [first, ...others] = serials;
  for (const serial of others) {
    const cure = `${first} has the same certificate, and what is done to one device is done to both: find out whose it is, delete certID from the row of the other one in DynamoDB, and run cvm devices reissue for that one`;
    report({ kind: 'row-faulty', serial, certificateId, action: 'reported', cure });
  }
}

function isUnfinished(device: Device, before: number): boolean {
  return device.removal !== undefined || device.pendingDeletion !== undefined || isAbandoned(device, before);
}

/** Unfinished for so long that no request waits for it any more. */
function isAbandoned(device: Device, before: number): boolean {
  const halfDone =
    device.state === 'provisioning' || (device.state === 'enrolled' && device.certificateId !== undefined);
  // a row of another tool, without an attempt of ours, is not unfinished
  return halfDone && device.attempt > 0 && device.requestedAt < before && (device.leaseUntil ?? 0) < before;
}

async function readCertificates(
  {
    named,
    shared,
    blocked,
    waiting,
  }: {
    waiting: ReadonlySet<string>;
    named: ReadonlyMap<string, string>;
    shared: ReadonlyMap<string, readonly string[]>;
    blocked: ReadonlySet<string>;
  },
  { issuer, report, before, stopped }: SweepRun,
) {
  const unnamed: CertificateSummary[] = [];
  const actives: CertificateSummary[] = [];
  const mismatched: [certificateId: string, serial: string][] = [];
  const missing = new Map(named);
  let certificates = 0;
  for await (const each of issuer.listCertificates()) {
    if (stopped?.()) break;
    certificates++;
    const { certificateId, status, createdAt } = each;
    const serial = named.get(certificateId);
    missing.delete(certificateId);
    reportShared(certificateId, shared.get(certificateId) ?? [], report);
    if (serial !== undefined) {
      const shouldBeActive = !blocked.has(serial);
      if ((status === 'active') !== shouldBeActive) mismatched.push([certificateId, serial]);
    } else if (status === 'other') report({ kind: 'certificate-unknown', certificateId, action: 'reported' });
    else if (createdAt < before && !waiting.has(certificateId)) (status === 'active' ? actives : unnamed).push(each);
  }
  if (!stopped?.()) mismatched.push(...missing);
  return { unnamed, actives, mismatched, certificates };
}

/** Finishes what a row has decided, and abandons an attempt that was not continued. */
async function finishRow(
  serial: string,
  { registry, issuer, report, dryRun, before, stopped, now }: SweepRun,
): Promise<void> {
  if (stopped?.()) return;
  let device = await registry.find(serial);
  if (device === undefined) return;
  if (device.removal !== undefined) {
    const done = dryRun || (await finishRemoval(device, { registry, issuer, now })) === 'done';
    return report({ kind: 'removal-unfinished', serial, action: done ? 'removed' : 'left' });
  }
  const { certificateId: itsCertificate } = device;
  let expired: Finding | undefined;
  if (isAbandoned(device, before)) {
    const ended = dryRun || (await registry.abandonAttempt(device));
    expired = {
      kind: 'attempt-expired',
      serial,
      ...(itsCertificate === undefined ? {} : { certificateId: itsCertificate }),
      action: !ended ? 'left' : itsCertificate === undefined ? 'released' : 'withdrawn',
    };
    device = dryRun ? device : await registry.find(serial);
  }
  for (const certificateId of device?.pendingDeletion ?? []) {
    if (!dryRun) await deletePending({ serial, pendingDeletion: [certificateId] }, { registry, issuer });
    if (certificateId !== itsCertificate)
      report({ kind: 'certificate-pending-deletion', serial, certificateId, action: 'withdrawn' });
  }
  // last, since "withdrawn" is true only now
  if (expired !== undefined) report(expired);
}

/** Reads row and certificate again before it judges a difference, since both may have changed since they were listed. */
async function compare(serial: string, certificateId: string, run: SweepRun): Promise<void> {
  const { registry, issuer, report, dryRun, stopped, before } = run;
  if (stopped?.()) return;
  const device = await registry.find(serial);
  if (device?.certificateId !== certificateId && device?.previousCertificateId !== certificateId) return;
  // an attempt under way promises nothing yet
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
      cure:
        status === 'other'
          ? `cvm devices reissue ${serial}: it was revoked or transferred in AWS IoT Core, and a revocation is for good`
          : `cvm devices unblock ${serial} if it is to work, cvm devices block ${serial} if it was blocked`,
    });
}

/** Clears intents whose possible certificates have been looked for. */
async function clearLostIntents(lost: readonly LostIntent[], run: SweepRun): Promise<void> {
  const { registry, issuer, claims, stopped, now } = run;
  const bySerial = new Map<string, Set<string>>();
  for (const { claim, serial, ...intent } of lost)
    if (claim !== undefined) await repair(run, { serial }, async () => claims?.forget(claim, intent));
  for (const intent of lost.filter(({ claim }) => claim === undefined))
    bySerial.set(intent.serial, (bySerial.get(intent.serial) ?? new Set()).add(textOf(intent)));
  const clear = async (serial: string, looked: ReadonlySet<string>) => {
    const device = await registry.find(serial);
    if (device === undefined) return;
    await registry.clearCreateIntents(
      device,
      createIntentsOf(device).filter((intent) => looked.has(textOf(intent))),
    );
    // finishes a removal that waited for this
    const rest = device.removal === undefined ? undefined : await registry.find(serial);
    if (rest !== undefined) await finishRemoval(rest, { registry, issuer, now });
  };
  for (const [serial, looked] of bySerial) {
    if (stopped?.()) return;
    await repair(run, { serial }, () => clear(serial, looked));
  }
}

import type { Issuer } from '../issuer/issuer.ts';
import type { ClaimCertificates } from '../registry/claim-certificates.ts';
import type { Deletions } from '../registry/deletions.ts';
import type { CreateIntent, Device } from '../registry/device.ts';
import type { Devices } from '../registry/devices.ts';
import type { Reconciliation } from '../registry/reconciliation.ts';
import type { SiteIndex } from '../registry/site-index.ts';
import type { OwnerTag } from './ec-key.ts';
import type { ForeignCertificates } from './foreign-certificates.ts';

export type SweepOptions = {
  readonly registry: Pick<Devices, 'find' | 'list'> & Deletions & Reconciliation;
  /** whether rows that another tool or an earlier version wrote are to be entered in the index; without it, they are not */
  readonly sites?: Pick<SiteIndex, 'isUsed'>;
  /** whose certificates may wait for a device; without them, no claim certificate is in use */
  readonly claims?: ClaimCertificates;
  /** an issuer with a small quota of its own, so that vending keeps the rest */
  readonly issuer: Issuer;
  /** its name */
  readonly table: string;
  /** the owner tag in the subject of our certificates */
  readonly ownerTag: OwnerTag;
  /** anything younger is not touched: an attempt may still be under way. Milliseconds */
  readonly graceMs: number;
  /** the reply of a device may be needed for so long after its certificate was issued, and is erased some time later. Milliseconds */
  readonly replayWindowMs: number;
  /** ACTIVE certificates that are no business of ours; without it, each sweep looks at all of them */
  readonly foreign?: ForeignCertificates;
  /** is shown each device */
  look?(device: Device): void;
  readonly dryRun: boolean;
  now(): number;
  /** called for each finding, after its action has succeeded */
  report(finding: Finding): void;
  /** checked between two steps; true ends the sweep early, without harm */
  stopped?(): boolean;
};

/** The kinds of findings. `docs/issuance-cycle.md` has the cause of each. */
export type FindingKind =
  /** an attempt that was not continued */
  | 'attempt-expired'
  /** a certificate that is marked for deletion and still there */
  | 'certificate-pending-deletion'
  /** a certificate whose create call got no answer */
  | 'answer-lost'
  /** a certificate with our owner tag that no row names */
  | 'certificate-unnamed'
  /** a certificate that a claim certificate asked for, and that no device has got */
  | 'certificate-unclaimed'
  /** a removal that was interrupted */
  | 'removal-unfinished'
  | 'blocked-but-active'
  /** a registered device's certificate is not in AWS IoT Core, or its row names none */
  | 'certificate-missing'
  /** a registered device's certificate is not active */
  | 'certificate-inactive'
  /** an ACTIVE certificate of a device's thing that its row does not name: the table is older than AWS, or a person attached it */
  | 'certificate-unexpected'
  /** the thing of a removed device: a worker that was frozen meanwhile made it again */
  | 'thing-unnamed'
  /** a certificate that no row names, without any sign that it is ours */
  | 'certificate-unknown'
  /** a row that another tool wrote: its device gets nothing, or shares its certificate with another, until a person has mended it */
  | 'row-faulty'
  /** a step that AWS refused, or that failed for an unexpected reason; the next sweep tries it again */
  | 'repair-failed';

export type Finding = {
  readonly kind: FindingKind;
  readonly serial?: string;
  readonly certificateId?: string;
  /** `reported`: for the operator to decide. `left`: another process has dealt with it meanwhile, or it waits for a later sweep. */
  readonly action: 'withdrawn' | 'deactivated' | 'removed' | 'released' | 'reported' | 'left';
  /** what the operator should do, when the operator must act */
  readonly cure?: string;
};

export type SweepSummary = {
  /** false when it was stopped before its end: everything that follows is then about a part */
  readonly complete: boolean;
  readonly dryRun: boolean;
  readonly devices: number;
  readonly certificates: number;
  readonly findings: Readonly<Partial<Record<FindingKind, number>>>;
  /** rows that were entered in the index of sites */
  readonly entered?: number;
  readonly ms: number;
};

/** A create intent in a row, without a known outcome. */
export type LostIntent = CreateIntent & {
  readonly serial: string;
  /** the id of the claim certificate for which it was made, where that has noted it */
  readonly claim?: string;
};

/** A sweep under way: its options, and the times that it judges by. */
export type SweepRun = SweepOptions & {
  readonly startedAt: number;
  /** epoch milliseconds: anything older is no work in progress */
  readonly before: number;
  /** what failed so far: the serials that it was about, and how many unexpected errors came one after the other */
  readonly failures: { readonly serials: Set<string>; inARow: number };
};

/** A create call may still make a certificate for this time after its intent was written. Milliseconds. */
export const createWindowMs = 60_000;

import type { ErrorCode } from '../protocol/problems.ts';
import type { AuditRecord, AuditTrail } from '../runtime/audit.ts';

type Device = { readonly serial: string };
/**
 * Who decided it: `cli:<user of the machine>`, `console:<person>`, `token:<name of an API token>`; absent in the records of older
 * versions.
 */
type ByPerson = { readonly by?: string };
/** `remoteAddress`: where the request came from; absent in the records of older versions. */
type AboutRequest = Device & { readonly requestId: string; readonly remoteAddress?: string };
type Vended = AboutRequest & {
  readonly certificateId: string /** by which claim certificate */;
  readonly claim?: string;
};

/** Refused by the broker at once. `serial`: only when the device named one that is a serial. */
type RefusedAtOnce = {
  readonly serial?: string;
  readonly remoteAddress: string;
  readonly errorCode: ErrorCode;
};
type RefusedByWorker = AboutRequest & { readonly errorCode: ErrorCode };

/**
 * Every event that the product records in its audit trail, with its fields. Names and fields stand on disk for years: add to
 * them, and rename none. Ids only: no token, no key, no payload.
 */
export type AuditEvents = {
  // a person decided it, with `cvm devices`, `cvm tls` or the console
  /** a device was enrolled: its token was made or taken in */
  enrolled: Device & ByPerson;
  /** a device was taken over from another table, or its token hashed in place; `from`: the table */
  'taken-over': Device & ByPerson & { readonly from: string; readonly certificateId?: string };
  /** a device got a new token; the one before counts no more */
  reissued: Device & ByPerson;
  /** a device was given to another site; `from`, `to`: absent for none */
  moved: Device & ByPerson & { readonly from?: string; readonly to?: string };
  /** a device was blocked: its certificate is INACTIVE, and it gets no other */
  blocked: Device & ByPerson;
  /** a block was undone */
  unblocked: Device & ByPerson;
  /** a device was removed, with its certificate */
  removed: Device & ByPerson;
  /** the keys of a gateway count no more */
  'gateway-forgotten': ByPerson & { readonly gateway: string };
  /** a gateway was approved in the table. `by` is `itself` where no person decided it (it was the first gateway of the table), and `operator` in the records of older versions */
  'gateway-approved': ByPerson & { readonly gateway: string };
  /** a claim certificate was made; `claim`: its id */
  'claim-added': ByPerson & { readonly claim: string; readonly group: string };
  /** a claim certificate counts no more */
  'claim-revoked': ByPerson & { readonly claim: string };
  /** a request that waits went to the front of the line */
  'moved-to-front': Device & ByPerson & { readonly requestId: string };
  /** a person signed in at the console */
  'signed-in': Required<ByPerson> & { readonly remoteAddress: string };
  /** a person signed out of the console */
  'signed-out': Required<ByPerson>;
  /** a wrong password at the console */
  'sign-in-refused': { readonly remoteAddress: string };
  /** the console has a new password; `role`: whose password it is, or what the token may do */
  'password-made': ByPerson & { readonly role: string };
  /** an API token of the console was made; `token`: its name */
  'api-token-made': ByPerson & { readonly token: string; readonly role: string };
  /** an API token counts no more */
  'api-token-revoked': ByPerson & { readonly token: string };
  /** a certificate was made for a claim certificate, and waits for its device */
  waiting: { readonly claim: string; readonly requestId: string; readonly certificateId: string };
  /** the device got its certificate */
  vended: Vended;
  /** the device asked again and got the same certificate */
  repeated: Vended;
  /** the table had no reply for a device that asked again: it gets another certificate in place of this one */
  reopened: AboutRequest & { readonly certificateId?: string };
  /** a certificate of the device's thing that the table did not name was deleted before the new one was activated */
  'other-withdrawn': Vended;
  /** the device has acknowledged that it stored the certificate */
  delivered: Device & { readonly certificateId: string };
  /** the device connected to AWS IoT Core for the first time with the certificate; as AWS told it some time later */
  'came-alive': Device & { readonly certificateId: string };
  /** a request was refused, by the broker at once or by a worker */
  refused: RefusedAtOnce | RefusedByWorker;
  /** refusals beyond those that are recorded one by one */
  'refused-flood': { readonly byCode: Readonly<Partial<Record<ErrorCode, number>>>; readonly ofLastSeconds: number };
  /** repeated answers and acknowledgements beyond those that are recorded one by one */
  'repeated-flood': { readonly answers?: number; readonly acknowledgements?: number; readonly ofLastSeconds: number };
  /** the end of a whole sweep */
  swept: {
    readonly dryRun: boolean;
    readonly devices: number;
    readonly certificates: number;
    readonly findings: Readonly<Partial<Record<string, number>>>;
    /** rows that were entered in the index of sites */
    readonly entered?: number;
    readonly ms: number;
  };
  /** `records`: the number of records that could not be written since then, when the disk was full for example. Only the log has them */
  'records-lost': { readonly records: number; readonly since: string };
  /** a sweep repaired something */
  'swept-up': {
    readonly kind: string;
    readonly action: 'withdrawn' | 'deactivated' | 'removed' | 'released';
    readonly serial?: string;
    readonly certificateId?: string;
  };
};

/** The product's audit trail. */
export type Audit = AuditTrail<AuditEvents>;

/** A record as `readAudit` gives it back. */
export type ProductRecord = AuditRecord<AuditEvents>;

/** The same trail, in which what is decided is recorded as decided by this person. */
export const auditOf = (audit: Audit, by: string): Audit => ({
  ...audit,
  record: (event, fields) => audit.record(event, { ...fields, by }),
});

/** The same trail; `tell` gets every event, too, for those who watch. */
export const watchedAudit = (audit: Audit, tell: (event: string, fields: object) => void): Audit => ({
  ...audit,
  record(event, fields) {
    audit.record(event, fields);
    tell(event, fields);
  },
});

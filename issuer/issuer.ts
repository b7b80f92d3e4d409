import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';

export type Certificate = {
  /** lower-case hex SHA-256 of the certificate's DER */
  readonly certificateId: string;
  readonly certificateArn: string;
  readonly certificatePem: string;
  /** shown once, when the issuer made the key pair */
  readonly privateKeyPem?: string;
};

/** `rsa`: the issuer makes an RSA-2048 key pair. */
export type KeySource = { readonly csrPem: string } | 'rsa';

/** What a certificate is attached to. */
export type CertificateAttachment = {
  readonly certificateId: string;
  readonly thingName: string;
  readonly policyName: string;
  /** the group that the thing joins */
  readonly thingGroupName?: string;
};

/** What becomes of a property that a thing has already: it stays, it is replaced, it is joined with the new one, or nothing is done at all. */
export type Override = 'DO_NOTHING' | 'REPLACE' | 'MERGE' | 'FAIL';

/** What a provisioning template says of a thing and its certificate, both of which are there. */
export type ThingConfiguration = {
  readonly thingName: string;
  readonly certificateId: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly thingTypeName?: string;
  readonly overrides: { readonly attributes: Override; readonly thingTypeName: Override };
  /** groups that the thing joins */
  readonly thingGroupNames: readonly string[];
  /** policies that the certificate gets */
  readonly policyNames: readonly string[];
};

/** `other`: revoked, or waiting for a fleet provisioning template or a transfer, which is not ours. */
export type CertificateStatus = 'active' | 'inactive' | 'other';

/** A line of the issuer's list of certificates. */
export type CertificateSummary = {
  readonly certificateId: string;
  readonly status: CertificateStatus;
  /** epoch milliseconds, by the issuer's clock */
  readonly createdAt: number;
};

/** What the list does not show. */
export type CertificateDescription = {
  readonly certificateId: string;
  readonly status: CertificateStatus;
  readonly certificatePem: string;
  /** hex SHA-256 of the public key (SPKI) */
  readonly keyDigest: string;
  /** the values of its subject, by short name: CN, O, OU */
  readonly subject: Readonly<Record<string, string>>;
};

/** How far the issuer's clock and ours may differ where times are compared, in milliseconds. */
export const clockSkewMs = 30_000;

/** The issuer refuses this CSR, however often it is sent. `message` is its reason, `refusal` the refusal of the call with its cure. */
export class CsrRefused extends Error {
  readonly refusal: UpstreamRefused | undefined;
  constructor(reason: string, refusal?: UpstreamRefused) {
    super(reason, { cause: refusal });
    this.refusal = refusal;
    this.name = 'CsrRefused';
  }
}

/**
 * Whether a call of `issue` that ended with this error certainly made nothing. After any other error a certificate may
 * exist whose answer is lost. It says nothing of errors of other calls.
 */
export function didNothing(error: unknown): boolean {
  return [CsrRefused, UpstreamThrottled, UpstreamUnreachable, UpstreamRefused].some((kind) => error instanceof kind);
}

/**
 * Makes certificates, and attaches them to things and policies. Promises of every adapter:
 *
 * - `issue` is not idempotent, and the adapter never repeats it: one call makes at most one certificate. The certificate is
 *   INACTIVE and attached to nothing. After an error of `issue` for which `didNothing` is false, a certificate may exist.
 * - Every other call may be retryWhile; the second time changes nothing.
 * - Lists may lag behind: a certificate that was made a moment ago may be absent.
 * - Throttling throws UpstreamThrottled, no connection UpstreamUnreachable, and what only a person can change
 *   UpstreamRefused, with the cure (`runtime/upstream.ts`). Every other error is thrown as it comes.
 */
export interface Issuer {
  issue(key: KeySource): Promise<Certificate>;
  /**
   * An INACTIVE certificate for this public key that was made since (epoch milliseconds, by our clock) and is not one of
   * `except`: that of a create call whose answer was lost.
   */
  findInactive(keyDigest: string, since: number, except: readonly string[]): Promise<Certificate | undefined>;
  /** The thing of a device exists afterwards. */
  ensureThing(name: string, thingTypeName?: string): Promise<void>;
  /**
   * Attaches the certificate to its thing (exclusively) and its policy, and adds the thing to its group.
   * @param onLasting is called with an error that may pass by itself, and that stays for longer than usual; it is thrown only when time is up
   */
  attach(attachment: CertificateAttachment, onLasting?: (error: unknown) => void): Promise<void>;
  /**
   * Gives a thing attributes, type and groups, and its certificate policies.
   * @returns false where the thing has others and the template says FAIL: then nothing was changed
   */
  configure(configuration: ThingConfiguration): Promise<boolean>;
  activate(certificateId: string): Promise<void>;
  /** Not a revocation: `activate` undoes it. A certificate that is not there counts as inactive. */
  deactivate(certificateId: string): Promise<void>;
  /** The certificate is gone afterwards: deactivated, detached from everything it was attached to, deleted. */
  withdraw(certificateId: string): Promise<void>;
  /** The thing is gone afterwards. */
  removeThing(name: string): Promise<void>;
  /** All certificates of the account, newest first, page by page. */
  listCertificates(): AsyncIterable<CertificateSummary>;
  /** One certificate; undefined when it is not there. */
  describeCertificate(certificateId: string): Promise<CertificateDescription | undefined>;
  /** The ids of the certificates that are attached to a thing; undefined where there is no such thing. */
  certificatesOf(thingName: string): Promise<readonly string[] | undefined>;
  /** The things that the certificate is attached to. */
  thingsOf(certificateId: string): Promise<readonly string[]>;
  /** Whether the certificate is attached to any thing or policy. */
  isAttached(certificateId: string): Promise<boolean>;
  /** The host name that devices connect to. It is asked for once and then remembered. */
  endpoint(): Promise<string>;
}

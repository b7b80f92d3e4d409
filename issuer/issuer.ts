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

export type CertificateAttachment = {
  readonly certificateId: string;
  readonly thingName: string;
  readonly policyName: string;
  readonly thingGroupName?: string;
};

/** `other`: revoked, or waiting for something (a fleet provisioning template, a transfer) that is not ours. */
export type CertificateStatus = 'active' | 'inactive' | 'other';

/** A line of the issuer's list of certificates. */
export type CertificateSummary = {
  readonly certificateId: string;
  readonly status: CertificateStatus;
  /** epoch milliseconds, by the issuer's clock */
  readonly createdAt: number;
};

/** What only a look at the certificate itself shows. */
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

/** The issuer will not take this CSR, however often it is asked. `message` has its reason. */
export class CsrRefused extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'CsrRefused';
  }
}

/**
 * Whether an `issue` that ended with this error certainly made nothing. After any other error a certificate may exist whose
 * answer is lost.
 */
export function didNothing(error: unknown): boolean {
  return [CsrRefused, UpstreamThrottled, UpstreamUnreachable, UpstreamRefused].some((kind) => error instanceof kind);
}

/**
 * Who makes certificates. Promises of every adapter:
 *
 * - `issue` is not idempotent and is never repeated by the adapter: one call makes at most one certificate. It is
 *   INACTIVE and attached to nothing. When it throws what `didNothing` does not know, a certificate may exist whose
 *   answer was lost.
 * - Everything else may be repeated; the second time changes nothing.
 * - `withdraw` ends with the certificate gone: deactivated, detached from whatever it was attached to, deleted. One that
 *   is not there is withdrawn already.
 * - Lists may lag behind: what was made a moment ago need not be in them.
 * - Throttling throws UpstreamThrottled, what only a person can change UpstreamRefused, both from `runtime/upstream.ts`;
 *   outages throw as they come.
 */
export interface Issuer {
  issue(key: KeySource): Promise<Certificate>;
  /**
   * An INACTIVE certificate for this public key that was made since (epoch milliseconds, by our clock), unless it is one
   * of `except`: what a create call left whose answer was lost.
   */
  findInactive(keyDigest: string, since: number, except: readonly string[]): Promise<Certificate | undefined>;
  /** The thing of a device exists afterwards. */
  ensureThing(name: string, thingTypeName?: string): Promise<void>;
  /** Ties certificate to thing (exclusively) and policy, and the thing to its group. */
  attach(identity: CertificateAttachment): Promise<void>;
  activate(certificateId: string): Promise<void>;
  /** Not a revocation: whoever may activate can undo it. One that is not there is inactive already. */
  deactivate(certificateId: string): Promise<void>;
  withdraw(certificateId: string): Promise<void>;
  /** The thing is gone afterwards. */
  removeThing(name: string): Promise<void>;
  /** All certificates of the account, newest first, page by page. */
  listCertificates(): AsyncIterable<CertificateSummary>;
  /** One certificate; undefined when it is not there. */
  describeCertificate(certificateId: string): Promise<CertificateDescription | undefined>;
  /** Whether the certificate is tied to any thing or policy. */
  isAttached(certificateId: string): Promise<boolean>;
  /** The host name that devices connect to; asked once, then remembered. */
  endpoint(): Promise<string>;
}

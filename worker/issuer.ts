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

export type Identity = {
  readonly certificateId: string;
  readonly thingName: string;
  readonly policyName: string;
  readonly thingGroupName?: string;
};

/** The issuer said "too fast", and did nothing. Safe to repeat, later. */
export class IssuerThrottled extends Error {
  constructor(operation: string) {
    super(`${operation}: throttled`);
    this.name = 'IssuerThrottled';
  }
}

/** The issuer will not take this CSR, however often it is asked. `message` has its reason. */
export class CsrRefused extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = 'CsrRefused';
  }
}

/**
 * The issuer will refuse this for every device, or for every device of this kind, until a person changes something.
 * `cure` says what, for the operator.
 */
export class IssuerRefused extends Error {
  readonly cure: string;
  constructor(operation: string, cause: Error, cure: string) {
    super(`${operation}: ${cause.name}: ${cause.message}`, { cause });
    this.name = 'IssuerRefused';
    this.cure = cure;
  }
}

/**
 * Who makes certificates. Promises of every adapter:
 *
 * - `issue` is not idempotent and is never repeated by the adapter: one call makes at most one certificate. It is
 *   INACTIVE and attached to nothing. When it throws anything but IssuerThrottled or CsrRefused, a certificate may
 *   exist whose answer was lost.
 * - Everything else may be repeated; the second time changes nothing.
 * - `withdraw` ends with the certificate gone: deactivated, detached from whatever it was attached to, deleted. One that
 *   is not there is withdrawn already.
 * - Throttling throws IssuerThrottled, what only a person can change IssuerRefused; outages throw as they come.
 */
export interface Issuer {
  issue(key: KeySource): Promise<Certificate>;
  /** The thing of a device exists afterwards. */
  ensureThing(name: string, thingTypeName?: string): Promise<void>;
  /** Ties certificate to thing (exclusively) and policy, and the thing to its group. */
  attach(identity: Identity): Promise<void>;
  activate(certificateId: string): Promise<void>;
  /** Not a revocation: whoever may activate can undo it. One that is not there is inactive already. */
  deactivate(certificateId: string): Promise<void>;
  withdraw(certificateId: string): Promise<void>;
  /** The host name that devices connect to; asked once, then remembered. */
  endpoint(): Promise<string>;
}

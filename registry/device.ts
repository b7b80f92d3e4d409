/**
 * `enrolled`: it may ask for its certificate · `provisioning`: an attempt is under way or died · `registered`: it holds
 * its certificate · `blocked`: by an operator · `unknown`: another tool wrote something that means nothing here. It is never written
 */
export type DeviceState = 'enrolled' | 'provisioning' | 'registered' | 'blocked' | 'unknown';

/** A call that creates a certificate, written down before it is made. */
export type CreateIntent = {
  /** of the claim under which it is made; the number of the attempt, where an earlier version wrote it */
  readonly id: string;
  /** epoch milliseconds */
  readonly at: number;
  /** hex SHA-256 of the public key (SPKI), where it is known before the certificate is */
  readonly keyDigest?: string;
};

/** A key pair that the gateway made for a device, written down before it is certified. */
export type OwnKey = {
  readonly csrPem: string;
  readonly keyDigest: string;
  /** the private key, sealed to the holder of the token: the worker cannot read it again */
  readonly sealedKey: string;
};

/** What an operator wants to become of the thing in AWS IoT Core when its device is removed. */
export type Removal = 'with-thing' | 'keep-thing';

/** One row of the association table. Times are epoch milliseconds. */
export type Device = {
  readonly serial: string;
  /** `sha256:<hex>` of the one-time token */
  readonly tokenHash: string;
  /**
   * in a row that another tool wrote. `not-hashed`: the table has the token in another form, and `tokenHash` is its hash; `missing`:
   * no token fits. It is read, and never written
   */
  readonly tokenForm?: 'not-hashed' | 'missing';
  readonly state: DeviceState;
  /** the last certificate request; 0 before the first */
  readonly requestedAt: number;
  readonly enrolledAt: number;
  /** the site whose gateways may vend for it; without one, every gateway may */
  readonly site?: string;
  /**
   * when it last changed in what gateways must know of it. The store writes it, and a row without it is not in the index of
   * sites
   */
  readonly changedAt?: number;
  /** how many claims and decisions there were */
  readonly attempt: number;
  /**
   * the fence: every claim has an id of its own, every decision removes it, and a write that names another is refused. A number
   * would begin again when a serial is removed and enrolled anew, and go back when the table is restored from a backup
   */
  readonly claimId?: string;
  /** until then no other request may take up the attempt that is under way */
  readonly leaseUntil?: number;
  /** the id of the request for which the latest attempt was made */
  readonly claimedBy?: string;
  readonly certificateId?: string;
  /** the reply with this certificate, sealed to the device's token: while it is here, the device gets the same certificate again */
  readonly keptReply?: string;
  /** the provisioning template by which this certificate was asked for, and the digest of what it said (`worker/template.ts`): the kept reply has its configuration */
  readonly template?: { readonly name: string; readonly digest: string };
  /** of a device that is being reissued: the certificate that works until the new one goes live */
  readonly previousCertificateId?: string;
  /** hex SHA-256 of the public key, where the device sent a CSR */
  readonly keyDigest?: string;
  /** the certificate went live, and the replay window began */
  readonly issuedAt?: number;
  /** the device acknowledged that it has stored its certificate: the token is spent for good */
  readonly deliveredAt?: number;
  readonly tokenExpiresAt?: number;
  /** the device's TLS and reply keys, sealed to each gateway that was known when the token was made; by gateway id */
  readonly sealedKeys?: Readonly<Record<string, string>>;
  readonly policyName?: string;
  readonly thingTypeName?: string;
  readonly thingGroupName?: string;
  /** the group of devices that it belongs to: a claim certificate of this group may stand for it */
  readonly claimGroup?: string;
  /** create calls whose outcome the row does not know, as texts; `createIntentsOf` reads them */
  readonly createIntents?: readonly string[];
  /** the same as an earlier version wrote them, by the number of the attempt. They are read and cleared */
  readonly numberedIntents?: Readonly<Record<string, Omit<CreateIntent, 'id'>>>;
  /** of the attempt that is under way, or of one that died */
  readonly ownKey?: OwnKey;
  /** certificates that are to be deleted. No attempt carries on with them, and none may be left when another goes live */
  readonly pendingDeletion?: readonly string[];
  /** certificates that were deleted while this attempt was under way: it may have found one of them before */
  readonly deleted?: readonly string[];
  /** the thing may have certificates that this row does not name: the next attempt looks for them */
  readonly mayHaveOthers?: boolean;
  /** when it was first seen to have connected to the issuer with this certificate; counts only while it is not before `issuedAt` */
  readonly seenAt?: number;
  /** when the issuer was last asked whether it connected */
  readonly lookedAt?: number;
  /** an operator removes this device: first its certificates, then (unless it is kept) its thing, then this row */
  readonly removal?: Removal;
  /** the device is removed, and only the sweep still sees this row: a worker that was frozen meanwhile may make its thing again */
  readonly removedAt?: number;
  /** epoch seconds: from then on DynamoDB may delete what is left of a removed device, where no sweep did */
  readonly forgetAt?: number;
};

/** The part of a row that belongs to a token and is replaced with it. */
export type StoredToken = Pick<Device, 'tokenHash' | 'tokenExpiresAt' | 'sealedKeys'>;

/** One attempt at a certificate: the one that `claimId` names. */
export type AttemptRef = Pick<Device, 'serial' | 'claimId'>;

export type Enrolment = StoredToken &
  Pick<Device, 'serial' | 'enrolledAt' | 'site' | 'policyName' | 'thingTypeName' | 'thingGroupName' | 'claimGroup'>;

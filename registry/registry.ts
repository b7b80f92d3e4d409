import type { Problem } from '../protocol/problems.ts';

/**
 * `enrolled`: it may ask for its certificate · `provisioning`: an attempt is under way or died · `registered`: it holds
 * its certificate · `blocked` by an operator
 */
export type DeviceState = 'enrolled' | 'provisioning' | 'registered' | 'blocked';

/** A call that creates a certificate, written down before it is made. */
export type CreateIntent = {
  /** epoch milliseconds */
  readonly at: number;
  /** hex SHA-256 of the public key (SPKI), where it is known before the certificate is */
  readonly keyDigest?: string;
};

/** A key pair that the gateway made for a device, written down before it is certified. */
export type OwnKey = {
  readonly csrPem: string;
  readonly keyDigest: string;
  /** the private key, sealed to the holder of the token: the gateway cannot read it again */
  readonly sealedKey: string;
};

/** One row of the association table. */
export type Device = {
  readonly serial: string;
  /** `sha256:<hex>` of the one-time token */
  readonly tokenHash: string;
  readonly state: DeviceState;
  /** epoch milliseconds of the last certificate request; 0 before the first */
  readonly requestedAt: number;
  readonly enrolledAt: number;
  /** the fence: raised by every claim; a write that names an older attempt is refused */
  readonly attempt: number;
  /** epoch milliseconds; while it lies ahead, nobody else may take up an unfinished attempt */
  readonly leaseUntil?: number;
  /** the question for which the latest attempt was made */
  readonly claimedBy?: string;
  readonly certificateId?: string;
  /** of a device that is being reissued: the certificate that works until the new one goes live */
  readonly previousCertificateId?: string;
  /** hex SHA-256 of the public key, where the device sent a CSR */
  readonly keyDigest?: string;
  /** epoch milliseconds at which the certificate went live; the replay window begins */
  readonly issuedAt?: number;
  /** epoch milliseconds at which the device said that it has stored its certificate; the token is spent for good */
  readonly deliveredAt?: number;
  readonly tokenExpiresAt?: number;
  /** the device's TLS and reply keys, sealed to each gateway that was known when the token was made; by gateway id */
  readonly sealedKeys?: Readonly<Record<string, string>>;
  readonly policyName?: string;
  readonly thingTypeName?: string;
  readonly thingGroupName?: string;
  /** create calls whose outcome the row does not know, by attempt: under way, or their answer was lost */
  readonly createIntents?: Readonly<Record<string, CreateIntent>>;
  /** of the attempt that is under way, or of one that died */
  readonly ownKey?: OwnKey;
  /** certificates that are to be deleted: decided, so that no attempt carries on with them. None may be there when another goes live */
  readonly pendingDeletion?: readonly string[];
  /** certificates that were pendingDeletion and deleted while this attempt was under way: it may have found one before */
  readonly deleted?: readonly string[];
  /** an operator removes this device: its certificates go, then (unless it is kept) its thing, then this row */
  readonly removal?: Removal;
};

export type Removal = 'with-thing' | 'keep-thing';

/** What of a device goes with its token, and is replaced with it. */
export type NewToken = Pick<Device, 'tokenHash' | 'tokenExpiresAt' | 'sealedKeys'>;

export type Enrolment = NewToken &
  Pick<Device, 'serial' | 'enrolledAt' | 'policyName' | 'thingTypeName' | 'thingGroupName'>;

export type ClaimRequest = {
  readonly serial: string;
  readonly tokenHash: string /** epoch ms */;
  readonly now: number;
  readonly leaseMs: number;
  /** the question: an attempt that was made for it may be taken up again by it, whatever the lease */
  readonly claimedBy?: string;
};

/** `createdBy`: the attempt whose create call made it; absent when that is not certain. `keyDigest`: of a device's own key. */
export type RecordedCertificate = {
  readonly certificateId: string;
  readonly keyDigest?: string;
  readonly createdBy?: number;
};

export type Claim =
  /** this attempt is ours until the lease ends; `device` is the row after the claim, with what earlier attempts recorded */
  | { readonly outcome: 'claimed'; readonly device: Device }
  /** another attempt of the same device is under way */
  | { readonly outcome: 'busy'; readonly until: number }
  /** the token is right and has vended its certificate already */
  | { readonly outcome: 'registered'; readonly device: Device }
  | { readonly outcome: 'refused'; readonly problem: Problem };

/**
 * The association table. Promises of every adapter:
 *
 * - Each method is one atomic write (or read); its answer is the decision. Of two callers that ask at once, one wins.
 * - Reads see every write that was answered before them.
 * - A write of an attempt (`intend`, `record`, `discard`, `finish`, `release`) takes effect only while that attempt is
 *   the latest and the device is applying; otherwise it changes nothing and answers false.
 * - A write about a row as it was read (`reopen`, `resolve`, `expire` and the operator's) takes effect only while nobody
 *   else has written a decision meanwhile. All of them but `resolve` raise the fence: whatever attempt was under way can
 *   write no more.
 * - Repeating a write that took effect but whose answer was lost answers as the first time (`record`, `discard`,
 *   `finish`, `condemn`); a repeated `claim` is a new attempt.
 * - An outage is an exception; a refusal is a value.
 */
export interface Registry {
  /** Adds a device that may apply. False when the serial is there already; the row is then unchanged. */
  enrol(enrolment: Enrolment): Promise<boolean>;
  find(serial: string): Promise<Device | undefined>;
  /** All devices, in no particular order, page by page. */
  list(): AsyncIterable<Device>;
  /**
   * Takes the device's one right to a certificate, or an attempt whose lease is over. The token is judged before
   * anything else: who does not know it learns nothing about the device.
   */
  claim(request: ClaimRequest): Promise<Claim>;
  /**
   * A public key belongs to one device: false when another enrolled device has asked with it before. Not undone by
   * anything but the removal of that device.
   */
  bindKey(serial: string, keyDigest: string): Promise<boolean>;
  /** Notes that this attempt is about to create a certificate, and for which key. */
  recordCreateIntent(serial: string, attempt: number, call: CreateIntent, ownKey?: OwnKey): Promise<boolean>;
  /** Notes the certificate of this attempt, replacing that of an earlier one. False, too, when it is marked for deletion or deleted. */
  recordCertificate(serial: string, attempt: number, certificate: RecordedCertificate): Promise<boolean>;
  /** Condemns the row's certificate: from now on no attempt carries on with it. */
  discardCertificate(serial: string, attempt: number, certificateId: string): Promise<boolean>;
  /** Ends the attempt: the device is registered and holds `certificateId`, issued at `now`. */
  finish(serial: string, attempt: number, certificateId: string, now: number): Promise<boolean>;
  /**
   * Gives the right back, for an attempt that ended unfinished: the device is enrolled again. A certificate that it
   * recorded stays in the row: the next claim finds it. `nothingMade`: the create call that it intended certainly made nothing.
   */
  release(serial: string, attempt: number, nothingMade?: boolean): Promise<boolean>;
  /**
   * A new attempt for a registered device whose answer is lost and was never acknowledged. The certificate in the row is
   * to be discarded before another goes live.
   */
  reopen(device: Device, request: ClaimRequest): Promise<Claim>;
  /** The device has stored this certificate: the token is spent for good. False when it is not the device's certificate or token. */
  acknowledge(serial: string, tokenHash: string, certificateId: string, now: number): Promise<boolean>;
  /**
   * Decides that a certificate that no row names will be deleted; a row that names it keeps it (`in-use`). No attempt of
   * the device can record it any more.
   */
  markForDeletion(serial: string, certificateId: string): Promise<'marked' | 'in-use' | 'no-row'>;
  /** A pendingDeletion certificate is deleted. Until another attempt begins it still cannot be recorded. */
  confirmDeleted(serial: string, certificateId: string): Promise<void>;
  /** Nothing is to be looked for any more that the create calls of these attempts may have left. */
  clearCreateIntents(device: Device, attempts: readonly string[]): Promise<boolean>;
  /** Ends an attempt that nobody carries on with: its certificate is marked for deletion, and the device may apply again. */
  abandonAttempt(device: Device): Promise<boolean>;
  /** Blocks the device and ends whatever attempt is under way. */
  block(device: Device): Promise<boolean>;
  /** Undoes `block`: registered again when its certificate had gone live, otherwise it may apply. */
  unblock(device: Device): Promise<boolean>;
  /** A new token, and a new right to a certificate. The one that the device holds works until the new one goes live; one that had not gone live is marked for deletion. */
  reissue(device: Device, token: NewToken): Promise<boolean>;
  /** The first step of removing a device: blocks it, and condemns its certificates. */
  retire(device: Device, removal: Removal): Promise<boolean>;
  /** Deletes the row, provided that nothing is marked for deletion or intended in it. */
  remove(device: Device): Promise<boolean>;
}

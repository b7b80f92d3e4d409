/**
 * A claim certificate: a TLS client certificate that a group of devices shares, and what it may be used for. Times are epoch
 * milliseconds.
 */
export type ClaimCertificate = {
  /** lower-case hex SHA-256 of its DER */
  readonly id: string;
  /** of devices: each is enrolled for one group, or for none */
  readonly group: string;
  /** the one provisioning template that it may be used with */
  readonly templateName: string;
  /** of the serials that it may be used for: `*` stands for any characters, `?` for one */
  readonly serials: string;
  /** how many devices may get their certificate by it */
  readonly most: number;
  /** how many certificates it may ask for in an hour of the clock: also those that no device gets */
  readonly mostAnHour: number;
  readonly createdAt: number;
  readonly endsAt: number;
  readonly revokedAt?: number;
  /** how many devices got their certificate by it */
  readonly served: number;
};

/** A certificate that a claim certificate asked for, and that no device has yet. */
export type WaitingCertificate = {
  /** of the attempt that makes it */
  readonly id: string;
  /** when its create call was about to be made, in epoch milliseconds */
  readonly at: number;
  /** hex SHA-256 of the public key; absent where AWS makes the key */
  readonly keyDigest?: string;
  /** absent until the create call was answered */
  readonly certificateId?: string;
  /** of the device that it was given to, also when it was taken back */
  readonly serial?: string;
};

/** Where a certificate has come to that was asked for by a claim certificate. */
export type WaitingState =
  /** it is about to be created, or its create call had no answer */
  | 'intended'
  /** it exists, INACTIVE and attached to nothing, and waits for its device */
  | 'waiting'
  /** a device has it, or is about to: the row of the device decides about it from now on */
  | 'given'
  /** no device gets it any more: it is to be deleted */
  | 'over';

export type WaitingList = Readonly<Record<WaitingState, readonly WaitingCertificate[]>>;

/** Why a claim certificate may not be used. */
export type ClaimRefusal = 'unknown' | 'revoked' | 'ended' | 'used-up' | 'hour-used-up' | 'too-many-wait';

/**
 * The claim certificates of the table, and the certificates that wait for their device. Each of the latter is intended, then waiting,
 * then given or over; each step is one conditional write, so that a certificate that is given to a device is never deleted as over,
 * and the reverse. Repeating a step after its answer was lost gives that answer again.
 */
export interface ClaimCertificates {
  /** False when it is there already; nothing is changed then. */
  add(claim: Omit<ClaimCertificate, 'revokedAt' | 'served'>): Promise<boolean>;
  find(id: string): Promise<ClaimCertificate | undefined>;
  list(): Promise<readonly ClaimCertificate[]>;
  /** From now on it is refused. @returns false when there is none */
  revoke(id: string, now: number): Promise<boolean>;
  /**
   * Forgets a claim certificate that had ended, or was revoked, at this time (epoch milliseconds), and that notes no certificate any more. It is
   * refused afterwards as one that is unknown. @returns false where it stays
   */
  remove(id: string, endedAt: number): Promise<boolean>;
  /** What `intend` would say at present. Writes nothing. */
  whyNoneMore(id: string, now: number): Promise<ClaimRefusal | undefined>;
  /** Notes that a certificate is about to be created. @returns why not */
  intend(
    id: string,
    certificate: Pick<WaitingCertificate, 'id' | 'keyDigest'>,
    now: number,
  ): Promise<ClaimRefusal | undefined>;
  /** The create call was answered. False when the certificate is over already: the caller deletes it. */
  wait(id: string, certificate: WaitingCertificate): Promise<boolean>;
  /**
   * Gives a certificate that waits, or that was given to this device before, to this device, and counts the device. Only one that was made
   * after `madeAfter` (epoch milliseconds).
   * @returns the certificate; `not-waiting`: it is over, or another device's
   */
  give(
    id: string,
    certificateId: string,
    to: { readonly serial: string; readonly now: number; readonly madeAfter: number },
  ): Promise<WaitingCertificate | ClaimRefusal | 'not-waiting'>;
  /** The device may not have it after all: it is over, and the device does not count. */
  takeBack(id: string, certificate: WaitingCertificate): Promise<void>;
  waiting(id: string): Promise<WaitingList>;
  /** No device gets it any more. False when it was given to one. */
  end(id: string, certificate: WaitingCertificate): Promise<boolean>;
  /** Forgets a certificate that is given and that its device's row names, or that is over and deleted. */
  forget(id: string, certificate: WaitingCertificate): Promise<void>;
}

/** How long a certificate waits for its device, and its ownership token counts; as at AWS. Milliseconds. */
export const waitingMs = 3_600_000;

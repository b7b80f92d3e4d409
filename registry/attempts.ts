import type { Problem } from '../protocol/problems.ts';
import type { AttemptRef, CreateIntent, Device, OwnKey } from './device.ts';
import type { RowFault } from './row-faults.ts';

export type ClaimRequest = {
  readonly serial: string;
  readonly tokenHash: string;
  /** epoch milliseconds */
  readonly now: number;
  readonly leaseMs: number;
  /** the id of the request: an attempt that was made for it may be taken up by it again before the lease is over (`takeoverEnd`) */
  readonly claimedBy?: string;
  /** the certificate that the attempt is to create: written down with the claim. Without it, `recordCreateIntent` does so later */
  readonly intends?: {
    /** absent where AWS makes the key */
    readonly keyDigest?: string;
    /** a key of the gateway for it. An earlier one that the row has stays */
    readonly ownKey?: OwnKey;
  };
  /** of the gateway: a device of another one is unknown to it */
  readonly site?: string | undefined;
};

export type Claim =
  /** the right to a certificate is taken until the lease ends; `device` is the row after the claim */
  | { readonly outcome: 'claimed'; readonly device: Device }
  /** another attempt of the same device is under way */
  | { readonly outcome: 'busy'; readonly until: number }
  /** the token is right and has vended its certificate already */
  | { readonly outcome: 'registered'; readonly device: Device }
  /** `fault`: the token is right, and the row needs an operator first */
  | { readonly outcome: 'refused'; readonly problem: Problem; readonly fault?: RowFault };

export type RecordedCertificate = {
  readonly certificateId: string;
  /** the reply with the certificate, sealed to the device's token; absent where the device has the certificate already */
  readonly keptReply?: string;
  /** of the key in the device's own CSR */
  readonly keyDigest?: string;
  /** as in the row */
  readonly template?: Device['template'];
  /** create intents whose outcome is known by this */
  readonly settled?: readonly CreateIntent[];
};

/**
 * What one attempt at a certificate writes down, from the claim to the acknowledgement.
 *
 * - A write that names an attempt takes effect only while that attempt is the latest and the device is being provisioned. Otherwise it changes nothing and answers false.
 * - `reopen` takes effect only while no other attempt or decision was written since the row was read.
 * - Repeating `recordCreateIntent`, `recordCertificate`, `discardCertificate`, `finish` or `acknowledge` after its answer
 *   was lost gives that answer again. A repeated `claim` is a new attempt.
 */
export interface Attempts {
  /**
   * Takes the device's one right to a certificate, or an attempt whose lease is over. The token is judged before
   * anything else: a caller with a wrong one learns nothing about the device.
   */
  claim(request: ClaimRequest): Promise<Claim>;
  /** The serial of the enrolled device that a public key belongs to. A read: only `recordCertificate` decides. */
  keyHolder(keyDigest: string): Promise<string | undefined>;
  /** Notes that this attempt is about to create a certificate, and for which key, where its claim did not. */
  recordCreateIntent(attempt: AttemptRef, intent: Omit<CreateIntent, 'id'>): Promise<boolean>;
  /**
   * Notes the certificate of this attempt, with its reply, in place of that of an earlier one. With `keyDigest`, the same write ties the
   * public key to this device: two devices with one key could act for each other. Only the removal of the device undoes that.
   * `overtaken`: nothing was written, also where the certificate is marked for deletion or deleted. `key-taken`: nothing was
   * written, since the key belongs to another enrolled device.
   */
  recordCertificate(
    attempt: AttemptRef,
    certificate: RecordedCertificate,
  ): Promise<'recorded' | 'overtaken' | 'key-taken'>;
  /** Marks the row's certificate for deletion and drops its reply: from now on no attempt carries on with it. */
  discardCertificate(attempt: AttemptRef, certificateId: string): Promise<boolean>;
  /** Ends the attempt: the device is registered and holds `certificateId`, issued at `now`. `settled`: create intents whose outcome is known */
  finish(attempt: AttemptRef, certificateId: string, now: number, settled?: readonly CreateIntent[]): Promise<boolean>;
  /**
   * Ends the attempt unfinished: the device is enrolled again. A certificate that it recorded stays in the row, where the
   * next claim finds it. `settled`: create intents that certainly made nothing, or whose certificate the row names.
   */
  release(attempt: AttemptRef, settled?: readonly CreateIntent[]): Promise<boolean>;
  /**
   * Begins a new attempt for a registered device that has not acknowledged, and whose row has no reply (an earlier version or
   * another tool wrote it). The certificate in the row is to be discarded before another goes live.
   */
  reopen(device: Device, request: ClaimRequest): Promise<Claim>;
  /**
   * Notes that the device has stored this certificate: the token is spent for good, and the kept reply is erased. False when
   * the device is not registered, or not with this certificate and token, or has another site.
   * @param site of the gateway
   */
  acknowledge(serial: string, tokenHash: string, certificateId: string, now: number, site?: string): Promise<boolean>;
}

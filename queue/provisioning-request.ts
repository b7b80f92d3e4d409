import { createHash } from 'node:crypto';
import type { KeyKind } from '../protocol/dialect.ts';

/**
 * One question of one device, as it waits in Redis: nothing in it is secret. The token is there only as its hash, and
 * `replyKey` is the public half of a key pair that only the token yields again.
 */
export type ProvisioningRequest = {
  /** unique to this question; its answer is kept under it */
  readonly requestId: string;
  readonly serial: string;
  readonly tokenHash: string;
  /** X25519 public key, base64url */
  readonly replyKey: string;
  /** PEM, its signature and key checked */
  readonly csrPem?: string;
  readonly key: KeyKind;
  /** hex SHA-256 of the CSR's public key (SPKI) */
  readonly keyDigest?: string;
  /** epoch milliseconds */
  readonly receivedAt: number;
};

/**
 * The address of whoever presented this token for this serial: the same for every connection and broker, and of no use
 * to anybody without the token.
 */
export function recipientIdOf(serial: string, tokenHash: string): string {
  return createHash('sha256').update(`${serial}\0${tokenHash}`).digest('base64url');
}

/** What makes two requests the same question: whoever asks it again waits for the answer to the first. */
export function requestKeyOf({
  serial,
  tokenHash,
  csrPem,
  key,
}: Pick<ProvisioningRequest, 'serial' | 'tokenHash' | 'csrPem' | 'key'>): string {
  return createHash('sha256')
    .update(`${recipientIdOf(serial, tokenHash)}\0${csrPem ?? key}`)
    .digest('base64url');
}

/** A device says that it has stored its certificate. */
export type Acknowledgement = { readonly serial: string; readonly tokenHash: string; readonly certificateId: string };

/** Where the broker puts questions. Both resolve when it is stored, and reject when it may not be. */
export interface RequestQueue {
  /** @returns the requestId under which the answer will come: that of the same question, where it waits already */
  add(request: ProvisioningRequest): Promise<string>;
  acknowledge(acknowledgement: Acknowledgement): Promise<void>;
  close(): Promise<void>;
}

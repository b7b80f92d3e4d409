import { createHash } from 'node:crypto';
import type { AskedTemplate, KeyKind } from '../protocol/dialect.ts';
import type { GatewayIdentity } from '../sealing/gateway.ts';

/**
 * One device asks for a certificate. The request waits in Redis, and nothing in it is secret: of the token it has the hash,
 * and `replyKey` is the public half of a key pair that can be derived from the token only.
 */
export type ProvisioningRequest = {
  /** unique; the reply is stored under it */
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
  /** is carried out before the certificate works. The registration token is not among the parameters */
  readonly template?: AskedTemplate;
  /** epoch milliseconds */
  readonly receivedAt: number;
  /** longest wait that the device accepts, in milliseconds (Message Expiry Interval of MQTT 5). Absent: the usual limit holds */
  readonly maxWaitMs?: number;
  /** where it came from, for log and audit trail; absent when a broker of an older version stored it */
  readonly remoteAddress?: string;
  /**
   * the address that limits count it under (`TokenAttempt`), where the broker did not know the token to be right: the worker judges it
   * within the limit on wrong tokens of that address
   */
  readonly attemptFrom?: string;
  /** the id of the claim certificate that stands in the place of a token: no device is named yet, and `serial` is `claimName` */
  readonly claim?: string;
};

/** Names the connections of a claim certificate where a serial is wanted: for the log, and for the salt of their keys. */
export const claimName = (claim: string): string => `claim-${claim.slice(0, 16)}`;

/**
 * Names the recipient of a reply: all connections, at any broker, that presented this token for this serial. Knowing it is
 * of no use without the token.
 */
export function recipientIdOf(serial: string, tokenHash: string): string {
  return createHash('sha256').update(`${serial}\0${tokenHash}`).digest('base64url');
}

/**
 * Names what was asked, in the signature of the reply. A CSR counts by its text, as every version has it: workers and brokers of two versions
 * must come to the same.
 */
export function requestKeyOf({
  serial,
  tokenHash,
  csrPem,
  key,
  template,
}: Pick<ProvisioningRequest, 'serial' | 'tokenHash' | 'csrPem' | 'key' | 'template'>): string {
  return createHash('sha256')
    .update(`${recipientIdOf(serial, tokenHash)}\0${csrPem ?? key}${textOf(template)}`)
    .digest('base64url');
}

/**
 * Equal for requests of the same serial and token that want a certificate for the same public key, by the same template: the second one waits for the reply to the
 * first, to which it is as good an answer. A CSR that is signed anew has other bytes (ECDSA signatures are random), and the same key.
 */
export function wantKeyOf({
  serial,
  tokenHash,
  keyDigest,
  key,
  template,
}: Pick<ProvisioningRequest, 'serial' | 'tokenHash' | 'keyDigest' | 'key' | 'template'>): string {
  return createHash('sha256')
    .update(`want\0${recipientIdOf(serial, tokenHash)}\0${keyDigest ?? key}${textOf(template)}`)
    .digest('base64url');
}

/** In whichever order the parameters came. Without a template, as before there were any. */
function textOf(template: AskedTemplate | undefined): string {
  if (template === undefined) return '';
  const { templateName, parameters } = template;
  const sorted = Object.entries(parameters).sort(([one], [other]) => (one < other ? -1 : 1));
  return `\0${JSON.stringify([templateName, sorted])}`;
}

/** Under which id and `requestKeyOf` the reply to a request will come: its own, or those of the one that waited already. */
export type AnsweredAs = { readonly requestId: string; readonly requestKey: string };

/** A device has stored its certificate. With `registration` it wants an answer. */
export type Acknowledgement = {
  readonly serial: string;
  readonly tokenHash: string;
  readonly certificateId: string;
  readonly registration?: AskedRegistration;
  /** as in a request: the template names the device */
  readonly claim?: string;
};

/** A device asks to be registered by a template. The answer is stored under `requestId`, and sealed to `replyKey`. */
export type AskedRegistration = Pick<ProvisioningRequest, 'requestId' | 'replyKey'> &
  AskedTemplate & {
    /** of the registration token that came with the parameters, where a claim certificate stands for the device */
    readonly deviceTokenHash?: string;
  };

/** In the place of `requestKeyOf`: the answer to a registration answers nothing else. */
export const registrationKeyOf = (requestId: string): string =>
  createHash('sha256').update(`registration\0${requestId}`).digest('base64url');

/**
 * A message as a worker takes it from the queue, with the gateway that signed all of it. Undefined: there is no gateway that
 * did. Whether the gateway is approved, the table tells.
 */
export type SignedMessage<Message> = { readonly message: Message; readonly gateway: GatewayIdentity | undefined };

/** The broker's side of the queue. `add` and `acknowledge` resolve when Redis has stored it, and reject when it may have not. */
export interface RequestQueue {
  /**
   * One device has one place: of a serial and token, one request waits.
   * @returns how the reply will come: as that of an earlier request for the same key (`wantKeyOf`), where one waits already; undefined
   * where one for another key waits, so that this one was not stored
   */
  add(request: ProvisioningRequest): Promise<AnsweredAs | undefined>;
  acknowledge(acknowledgement: Acknowledgement): Promise<void>;
  close(): Promise<void>;
}

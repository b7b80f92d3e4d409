import type { Acknowledgement, ProvisioningRequest } from './provisioning-request.ts';
import type { SealedReply } from './replies.ts';

/**
 * How everything is spelled in Redis. During an upgrade, brokers and workers of two versions share one Redis, so a stored name
 * stays when the code renames the thing. Keys, stored types and mappers are in this file, but for these: roster entries,
 * announcements and positions are stored as JSON of their types in `roster.ts`; the outcomes of token attempts are in
 * `redis-token-attempts.ts`, and the deduplication id of an acknowledgement in `request-queue.ts`.
 */

/** Every key of ours begins so. The braces keep them on one node of a Redis cluster, which BullMQ's scripts need. */
export const keyPrefix = '{cvm}';

/** The BullMQ queue, and the names of its two kinds of jobs. */
export const [queueName, requestJob, acknowledgementJob] = ['asks', 'ask', 'ack'];

/** Brokers listen on it for replies. */
export const repliesChannel = `${keyPrefix}:replies`;
/** The reply to one request. */
export const replyKey = (requestId: string) => `${keyPrefix}:answer:${requestId}`;
/** The reply that holds a certificate, for the replay window. */
export const keptReplyKey = (recipientId: string, certificateId: string) =>
  `${keyPrefix}:kept:${recipientId}:${certificateId}`;

export const rosterKeys = {
  /** hash: serial → entry */
  entries: `${keyPrefix}:roster`,
  /** hash: gateway id → announcement */
  gateways: `${keyPrefix}:roster:brokers`,
  position: `${keyPrefix}:roster:position`,
  leader: `${keyPrefix}:roster:leader`,
  /** brokers listen on it for serials whose entry changed */
  channel: `${keyPrefix}:roster:changed`,
  /** set of serials */
  requestedLookups: `${keyPrefix}:roster:inquiries`,
};

/** Counters of token attempts: `serial`, `pause`, `address`, `strikes`. */
export const tokenAttemptsKey = (counter: string) => `${keyPrefix}:guess:${counter}`;
/** What is known of a token that was attempted. */
export const attemptedTokenKey = (recipientId: string) => `${keyPrefix}:guess:seen:${recipientId}`;

/** The data of a request's job. */
export type StoredRequest = Omit<ProvisioningRequest, 'requestId'> & { readonly askId: string };

export function toStoredRequest({ requestId, ...rest }: ProvisioningRequest): StoredRequest {
  return { askId: requestId, ...rest };
}

export function fromStoredRequest({ askId, ...rest }: StoredRequest): ProvisioningRequest {
  return { requestId: askId, ...rest };
}

/** The data of an acknowledgement's job. */
export type StoredAcknowledgement = Acknowledgement;

type StoredReply = { readonly askId: string; readonly box: string; readonly sealed: string };

/** As JSON: under its key, and as the message on the channel. */
export function toStoredReply({ requestId, recipientId, sealed }: SealedReply): string {
  return JSON.stringify({ askId: requestId, box: recipientId, sealed } satisfies StoredReply);
}

export function fromStoredReply(json: string): SealedReply {
  const { askId, box, sealed } = JSON.parse(json) as StoredReply;
  return { requestId: askId, recipientId: box, sealed };
}

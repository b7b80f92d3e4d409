import { z } from 'zod';
import { serialPattern } from '../protocol/serial.ts';
import type { Acknowledgement, ProvisioningRequest } from './provisioning-request.ts';
import type { SealedReply } from './replies.ts';
import type { GatewayAnnouncement, RosterEntry } from './roster.ts';

/**
 * How everything is spelled in Redis. During an upgrade, brokers and workers of two versions share one Redis, so a stored name
 * stays when the code renames the thing. Keys, stored types and mappers are in this file, but for these: roster entries,
 * announcements and positions are stored as JSON of their types in `roster.ts`; the outcomes of token attempts are in
 * `redis-token-attempts.ts`, and the deduplication id of an acknowledgement in `request-queue.ts`.
 *
 * Redis is not trusted, so a `read…` function checks the form of what it reads, and returns undefined where that is wrong.
 */

/** Every key of ours begins so. The braces keep them on one node of a Redis cluster, which BullMQ's scripts need. */
export const keyPrefix = '{cvm}';

/** The BullMQ queue, and the names of its two kinds of jobs. */
export const [queueName, requestJob, acknowledgementJob] = ['asks', 'ask', 'ack'];

/** Brokers listen on it for replies. */
export const repliesChannel = `${keyPrefix}:replies`;
/** The reply to one request. */
export const replyKey = (requestId: string) => `${keyPrefix}:answer:${requestId}`;

/** hash: serial → id of the certificate that this gateway activated last */
export const seenCertificatesKey = `${keyPrefix}:activated`;

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

/** @param data of a job, as BullMQ parsed it */
export function readStoredRequest(data: unknown): ProvisioningRequest | undefined {
  const stored = storedRequest.safeParse(data).data;
  if (stored === undefined) return undefined;
  const { askId, ...rest } = stored;
  return { requestId: askId, ...rest };
}

const shortText = z.string().min(1).max(64);
const serial = z.string().regex(serialPattern);
const tokenHash = z.string().min(1).max(128);
const storedRequest = z.object({
  askId: shortText,
  serial,
  tokenHash,
  replyKey: shortText,
  csrPem: z.string().max(8192).exactOptional(),
  key: z.enum(['rsa', 'ec']),
  keyDigest: shortText.exactOptional(),
  receivedAt: z.number(),
  remoteAddress: z.string().max(64).exactOptional(),
});

/** The data of an acknowledgement's job. */
export type StoredAcknowledgement = Acknowledgement;

/** @param data of a job, as BullMQ parsed it */
export const readStoredAcknowledgement = (data: unknown): Acknowledgement | undefined =>
  storedAcknowledgement.safeParse(data).data;

const storedAcknowledgement = z.object({ serial, tokenHash, certificateId: shortText });

type StoredReply = { readonly askId: string; readonly box: string; readonly sealed: string };

/** As JSON: under its key, and as the message on the channel. */
export function toStoredReply({ requestId, recipientId, sealed }: SealedReply): string {
  return JSON.stringify({ askId: requestId, box: recipientId, sealed } satisfies StoredReply);
}

export function readStoredReply(json: string): SealedReply | undefined {
  const stored = parsed(storedReply, json);
  return stored && { requestId: stored.askId, recipientId: stored.box, sealed: stored.sealed };
}

const storedReply = z.object({ askId: shortText, box: shortText, sealed: z.string() });
const rosterEntry = z.object({
  tokenHash,
  sealedKeys: z.record(shortText, z.string().max(1024)).exactOptional(),
});
const gatewayAnnouncement = z.object({ id: shortText, publicKey: shortText, at: z.number() });
const position = z.object({ change: z.number(), wholeAt: z.number() });
// the table may have rows with other names, and one of these must not hide the others
const changedSerials = z.array(z.string());

export const readRosterEntry = (json: string): Omit<RosterEntry, 'serial'> | undefined => parsed(rosterEntry, json);

export const readGatewayAnnouncement = (json: string): GatewayAnnouncement | undefined =>
  parsed(gatewayAnnouncement, json);

export const readPosition = (json: string): { readonly change: number; readonly wholeAt: number } | undefined =>
  parsed(position, json);

/** Serials whose entry changed. */
export const readChangedSerials = (json: string): readonly string[] | undefined => parsed(changedSerials, json);

/** An announcement of 500 keys of DynamoDB, 2,048 bytes each, is shorter. */
const maxCharacters = 2 ** 21;

function parsed<T>(schema: z.ZodType<T>, json: string): T | undefined {
  if (json.length > maxCharacters) return undefined;
  try {
    return schema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

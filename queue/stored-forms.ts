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
 * Whoever can write to Redis can write anything: a `read…` function gives undefined for what does not have the stored form.
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

/** @param data of a job, as BullMQ parsed it */
export function readStoredRequest(data: unknown): ProvisioningRequest | undefined {
  const stored = storedRequest.safeParse(data).data;
  if (stored === undefined) return undefined;
  const { askId, ...rest } = stored;
  return { requestId: askId, ...rest };
}

const id = z.string().min(1).max(64);
const serial = z.string().regex(serialPattern);
const tokenHash = z.string().min(1).max(128);
const storedRequest = z.object({
  askId: id,
  serial,
  tokenHash,
  replyKey: id,
  csrPem: z.string().max(8192).exactOptional(),
  key: z.enum(['rsa', 'ec']),
  keyDigest: id.exactOptional(),
  receivedAt: z.number(),
  remoteAddress: z.string().max(64).exactOptional(),
});

/** The data of an acknowledgement's job. */
export type StoredAcknowledgement = Acknowledgement;

/** @param data of a job, as BullMQ parsed it */
export const readStoredAcknowledgement = (data: unknown): Acknowledgement | undefined =>
  z.object({ serial, tokenHash, certificateId: id }).safeParse(data).data;

type StoredReply = { readonly askId: string; readonly box: string; readonly sealed: string };

/** As JSON: under its key, and as the message on the channel. */
export function toStoredReply({ requestId, recipientId, sealed }: SealedReply): string {
  return JSON.stringify({ askId: requestId, box: recipientId, sealed } satisfies StoredReply);
}

export function readStoredReply(json: string): SealedReply | undefined {
  const stored = parsed(z.object({ askId: id, box: id, sealed: z.string() }), json);
  return stored && { requestId: stored.askId, recipientId: stored.box, sealed: stored.sealed };
}

export const readRosterEntry = (json: string): Omit<RosterEntry, 'serial'> | undefined =>
  parsed(z.object({ tokenHash, sealedKeys: z.record(id, z.string().max(1024)).exactOptional() }), json);

export const readGatewayAnnouncement = (json: string): GatewayAnnouncement | undefined =>
  parsed(z.object({ id, publicKey: id, at: z.number() }), json);

export const readPosition = (json: string): { readonly change: number; readonly wholeAt: number } | undefined =>
  parsed(z.object({ change: z.number(), wholeAt: z.number() }), json);

/** Serials whose entry changed. */
export const readChangedSerials = (json: string): readonly string[] | undefined => parsed(z.array(serial), json);

/** An announcement of 500 serials of 128 characters is shorter. */
const maxCharacters = 128 * 1024;

function parsed<T>(schema: z.ZodType<T>, json: string): T | undefined {
  if (json.length > maxCharacters) return undefined;
  try {
    return schema.safeParse(JSON.parse(json)).data;
  } catch {
    return undefined;
  }
}

import { z } from 'zod';
import { serialPattern } from '../protocol/serial.ts';
import { derOf } from '../runtime/pem.ts';
import { type GatewayIdentity, identityOf, type OwnGateway } from '../sealing/gateway.ts';
import { type Fields, isSigned, type Purpose, type SigningKey } from '../sealing/signing.ts';
import { askedKey } from './asked-key.ts';
import type { LineSecond } from './line.ts';
import {
  type Acknowledgement,
  type ProvisioningRequest,
  recipientIdOf,
  requestKeyOf,
  type SignedMessage,
  wantKeyOf,
} from './provisioning-request.ts';
import type { BoundReply } from './replies.ts';
import {
  type GatewayAnnouncement,
  type GatewayList,
  latestEnd,
  type RosterEntry,
  type RosterPosition,
  type SignedRosterEntry,
  signedFieldsOf,
} from './roster.ts';

/**
 * The forms of the values in Redis: stored types, and mappers to the types of the code. After an upgrade, what an older version stored is still
 * there, so it is read for ever. A worker drops a request of a newer version that it cannot read: workers are upgraded first.
 * The names of keys are in `stored-keys.ts`. Some forms are elsewhere: roster entries and announcements are stored as JSON of their types in
 * `roster.ts`; the outcomes of token attempts are in `redis-token-attempts.ts`, the reports of processes in `redis-running-parts.ts`, and the
 * deduplication id of an acknowledgement in `request-queue.ts`.
 *
 * Redis is not trusted, so a `read…` function checks the form of what it reads, and returns undefined where that is wrong.
 * What decides anything is signed, as it is stored: by the gateway (requests, acknowledgements, its announcement), or with
 * the table's key by a worker (replies, entries and position of the roster, activated certificates).
 */

/** What a gateway adds to a message: its keys, and its signature over all else that is stored. */
type Signature = { readonly gatewayKey: string; readonly gatewaySigningKey: string; readonly signature: string };

function signedBy<Data extends Fields>(gateway: OwnGateway, purpose: Purpose, data: Data): Data & Signature {
  const { publicKey: gatewayKey, signingKey: gatewaySigningKey } = gateway.identity;
  const signed = { ...data, gatewayKey, gatewaySigningKey };
  return { ...signed, signature: gateway.signingKey.sign(purpose, signed) };
}

/**
 * The gateway that signed this. All fields are covered, also those that this version does not know: a newer broker may have
 * added some.
 */
function signerOf(data: unknown, purpose: Purpose): GatewayIdentity | undefined {
  const found = signature.safeParse(data).data;
  if (found === undefined) return undefined;
  const { signature: made, ...fields } = data as Fields & Signature;
  const gateway = identityOf({ publicKey: found.gatewayKey, signingKey: found.gatewaySigningKey });
  return gateway !== undefined && isSigned(gateway.signingKey, purpose, fields, made) ? gateway : undefined;
}

const shortText = z.string().min(1).max(64);
const signatureText = z.string().length(86);
const signature = z.object({ gatewayKey: shortText, gatewaySigningKey: shortText, signature: signatureText });

/**
 * The data of a request's job, as short as can be: a hundred thousand may wait. The id of the job is the id of the request, which is signed
 * with the rest. A CSR is there as base64 of its DER. The digest of its key is made again from it, and `key` says nothing beside it. With a
 * template, all that is asked for is in `withTemplate`, as JSON, and nowhere else: a worker of a version that knows no templates cannot read such a
 * request, and drops it. It would vend a certificate that works without what the template asks for.
 */
export type StoredRequest = Omit<ProvisioningRequest, 'requestId' | 'csrPem' | 'key' | 'keyDigest' | 'template'> &
  (StoredKey | { readonly withTemplate: string }) &
  Signature;
type StoredKey = { readonly csr: string } | Pick<ProvisioningRequest, 'key'>;

export function toStoredRequest(request: ProvisioningRequest, gateway: OwnGateway): StoredRequest {
  const { requestId, csrPem, key, keyDigest: _ofCsr, template, ...rest } = request;
  const storedKey: StoredKey = csrPem === undefined ? { key } : { csr: derOf(csrPem).toString('base64') };
  const asked = template === undefined ? storedKey : { withTemplate: JSON.stringify({ ...storedKey, ...template }) };
  const { askId, ...stored } = signedBy(gateway, 'request', { askId: requestId, ...asked, ...rest });
  return stored;
}

/** @param data of a job, as BullMQ parsed it @param jobId its id */
export function readStoredRequest(data: unknown, jobId: string): SignedMessage<ProvisioningRequest> | undefined {
  const stored = storedRequest.safeParse(data).data;
  if (stored === undefined) return undefined;
  const asked = askedOf(stored);
  if (asked === undefined) return undefined;
  const { askId: requestId = jobId, csr, withTemplate, ...rest } = stored;
  return {
    message: { requestId, ...rest, ...asked },
    gateway: signerOf({ askId: jobId, ...(data as object) }, 'request'),
  };
}

/** For which key, and by which template. Undefined where it does not say it. */
function askedOf(stored: z.infer<typeof storedRequest>) {
  if (stored.withTemplate === undefined) return askedKey(stored);
  const inside = parsed(askedWithTemplate, stored.withTemplate);
  // what an older version would read beside it is not what the device asks for
  if (inside === undefined || stored.csr !== undefined || stored.key !== undefined) return undefined;
  const key = askedKey(inside);
  const { templateName, parameters } = inside;
  return key && { ...key, template: { templateName, parameters } };
}

/** 32 bytes in base64url, in the one spelling that they have. */
const key32 = z.string().regex(/^[\w-]{42}[AEIMQUYcgkosw048]$/);
/** Epoch milliseconds, as far as a `Date` goes. DynamoDB stores no number of another size. */
const time = z.int().min(0).max(8.64e15);
const serial = z.string().regex(serialPattern);
const tokenHash = z.string().min(1).max(128);

/**
 * What a request asks for that waits. Nothing says that a gateway signed it, so its key is the one in its CSR: the `keyDigest` that 0.1.0 stored
 * beside a CSR may be that of another one, and no `wantKey` is made of it.
 * @param json the data of a request's job. Undefined where it is none
 */
export function readWaiting(
  json: string,
): { readonly requestKey: string; readonly wantKey: string | undefined } | undefined {
  const request = parsed(storedRequest, json);
  if (request === undefined) return undefined;
  const asked = askedOf(request);
  if (asked === undefined) return undefined;
  const message = { ...request, ...asked };
  return {
    requestKey: requestKeyOf(message),
    wantKey: request.csrPem === undefined ? wantKeyOf(message) : undefined,
  };
}

// an acknowledgement has no reply key
const aboutRecipient = z.object({ serial, tokenHash, replyKey: key32 });
const keyFields = {
  csr: z.base64().max(8192).exactOptional(),
  key: z.enum(['rsa', 'ec']).exactOptional(),
};
const templateFields = {
  templateName: shortText,
  parameters: z.record(z.string(), z.string()),
};
const askedWithTemplate = z.object({ ...keyFields, ...templateFields });
const storedRequest = z.object({
  serial,
  tokenHash,
  replyKey: key32,
  ...keyFields,
  receivedAt: time,
  maxWaitMs: z.int().min(0).exactOptional(),
  remoteAddress: z.string().max(64).exactOptional(),
  attemptFrom: z.string().max(64).exactOptional(),
  claim: shortText.exactOptional(),
  withTemplate: z.string().max(32_768).exactOptional(),
  // in requests of 0.1.0, beside `key`
  askId: shortText.exactOptional(),
  csrPem: z.string().max(8192).exactOptional(),
  keyDigest: shortText.exactOptional(),
});

/** The device that a job is about, for the log. */
export const readSerial = (data: unknown): string | undefined => aboutDevice.safeParse(data).data?.serial;

const aboutDevice = z.object({ serial });

/** To whom the answer to a request goes; undefined for another job. */
export function readRecipientId(data: unknown): string | undefined {
  const request = aboutRecipient.safeParse(data).data;
  return request && recipientIdOf(request.serial, request.tokenHash);
}

/** The data of an acknowledgement's job. */
export type StoredAcknowledgement = Omit<Acknowledgement, 'registration'> & {
  /** JSON: what is signed is flat */
  readonly registration?: string;
} & Signature;

export function toStoredAcknowledgement(
  { registration, ...acknowledgement }: Acknowledgement,
  gateway: OwnGateway,
): StoredAcknowledgement {
  const asked = registration === undefined ? {} : { registration: JSON.stringify(registration) };
  return signedBy(gateway, 'acknowledgement', { ...acknowledgement, ...asked });
}

/** @param data of a job, as BullMQ parsed it */
export function readStoredAcknowledgement(data: unknown): SignedMessage<Acknowledgement> | undefined {
  const stored = storedAcknowledgement.safeParse(data).data;
  if (stored === undefined) return undefined;
  const { registration: json, ...message } = stored;
  const gateway = signerOf(data, 'acknowledgement');
  if (json === undefined) return { message, gateway };
  const registration = parsed(askedRegistration, json);
  return registration && { message: { ...message, registration }, gateway };
}

const storedAcknowledgement = z.object({
  serial,
  tokenHash,
  certificateId: shortText,
  registration: z.string().max(16_384).exactOptional(),
  claim: shortText.exactOptional(),
});

const askedRegistration = z.object({
  requestId: shortText,
  replyKey: key32,
  ...templateFields,
  deviceTokenHash: tokenHash.exactOptional(),
});

type StoredReply = {
  readonly askId: string;
  readonly box: string;
  readonly requestKey: string;
  readonly gateway?: string;
  readonly sealed: string;
  readonly signature: string;
};

/** As JSON: under its key, and as the message on the channel. */
export function toStoredReply(reply: BoundReply, table: SigningKey): string {
  const { requestId, recipientId, requestKey, onlyGateway, sealed } = reply;
  const only = onlyGateway === undefined ? {} : { gateway: onlyGateway };
  const signed = { askId: requestId, box: recipientId, requestKey, ...only, sealed };
  return JSON.stringify({ ...signed, signature: table.sign('reply', signed) } satisfies StoredReply);
}

/** A reply, and whether the holder of the table's key signed it. */
export function readStoredReply(json: string): (BoundReply & { isSignedBy(tableKey: string): boolean }) | undefined {
  const stored = parsed(storedReply, json);
  if (stored === undefined) return undefined;
  const { signature: made, ...signed } = stored;
  return {
    requestId: signed.askId,
    recipientId: signed.box,
    requestKey: signed.requestKey,
    ...(signed.gateway === undefined ? {} : { onlyGateway: signed.gateway }),
    sealed: signed.sealed,
    isSignedBy: (tableKey) => isSigned(tableKey, 'reply', signed as Fields, made),
  };
}

/** Loose: a field that a newer worker adds is signed as well. */
const storedReply = z.looseObject({
  askId: shortText,
  box: shortText,
  requestKey: shortText,
  gateway: shortText.exactOptional(),
  sealed: z.string(),
  signature: signatureText,
});

const position = z.object({
  change: z.int().min(0),
  wholeAt: time,
  site: shortText.exactOptional(),
  siteChange: z.int().min(0).exactOptional(),
  comparedAt: time.exactOptional(),
  signature: signatureText,
});
const gatewayIds = z.array(shortText).max(1000);
const gatewayList = z.object({ approved: gatewayIds, waiting: gatewayIds, signature: signatureText });
const seenCertificate = z.object({ certificateId: shortText, signature: signatureText });
// the table may have rows with other names, and one of these must not hide the others
const changedSerials = z.array(z.string()).max(500);

/** As JSON, signed with the table's key. */
export function toStoredRosterEntry(entry: RosterEntry, table: SigningKey): string {
  const { serial: _key, ...stored } = entry;
  return JSON.stringify({ ...stored, signature: table.sign('roster entry', signedFieldsOf(entry)) });
}

/** Whether it is signed, a broker checks when it uses the entry: a signature takes as long as reading a hundred of them. */
export const readRosterEntry = (json: string): Omit<SignedRosterEntry, 'serial'> | undefined =>
  parsed(rosterEntry, json);

const rosterEntry = z.object({
  tokenHash,
  sealedKeys: z.record(shortText, z.string().max(1024)).exactOptional(),
  validUntil: z.int().min(0).max(latestEnd).exactOptional(),
  signature: signatureText,
});

/** As JSON, signed by the gateway itself. */
export function toStoredAnnouncement({ identity, signingKey }: OwnGateway, at: number): string {
  const announced = { ...identity, at };
  return JSON.stringify({ ...announced, signature: signingKey.sign('gateway', announced) });
}

/** Undefined also when the gateway did not sign it, or its id is not that of its keys. */
export function readGatewayAnnouncement(json: string): GatewayAnnouncement | undefined {
  const stored = parsed(gatewayAnnouncement, json);
  const gateway = stored && identityOf(stored);
  if (stored === undefined || gateway?.id !== stored.id) return undefined;
  const { at, signature: made } = stored;
  return isSigned(gateway.signingKey, 'gateway', { ...gateway, at }, made) ? { gateway, at } : undefined;
}

const gatewayAnnouncement = z.object({
  id: shortText,
  publicKey: shortText,
  signingKey: shortText,
  at: time,
  signature: signatureText,
});

/** The table's public key. */
export const readTableKey = (text: string): string | undefined => key32.safeParse(text).data;

/** How far the roster follows the table, signed: one that is ahead of the table says that the table was restored. */
export function toStoredPosition(reached: RosterPosition, table: SigningKey): string {
  return JSON.stringify({ ...reached, signature: table.sign('roster position', reached) });
}

/** Undefined also when it is not signed with this key of the table. */
export function readPosition(json: string, tableKey: string): RosterPosition | undefined {
  const stored = parsed(position, json);
  if (stored === undefined) return undefined;
  const { signature: made, ...signed } = stored;
  return isSigned(tableKey, 'roster position', signed, made) ? signed : undefined;
}

const signedFieldsOfList = ({ approved, waiting }: GatewayList): Fields => ({
  approved: approved.join(' '),
  waiting: waiting.join(' '),
});

export function toStoredGatewayList(list: GatewayList, table: SigningKey): string {
  return JSON.stringify({ ...list, signature: table.sign('gateway list', signedFieldsOfList(list)) });
}

/** Undefined also when it is not signed with this key of the table. */
export function readGatewayList(json: string, tableKey: string): GatewayList | undefined {
  const stored = parsed(gatewayList, json);
  if (stored === undefined) return undefined;
  const { signature: made, ...list } = stored;
  return isSigned(tableKey, 'gateway list', signedFieldsOfList(list), made) ? list : undefined;
}

/** The certificate that was activated for a device, signed: another one than the row has leads to a search, and to deletions. */
export function toStoredSeenCertificate(serial: string, certificateId: string, table: SigningKey): string {
  const made = table.sign('seen certificate', { serial, certificateId });
  return JSON.stringify({ certificateId, signature: made });
}

/** Undefined also when it is not signed with this key of the table, for this device. */
export function readSeenCertificate(serial: string, json: string, tableKey: string): string | undefined {
  const stored = parsed(seenCertificate, json);
  if (stored === undefined) return undefined;
  const { certificateId, signature: made } = stored;
  return isSigned(tableKey, 'seen certificate', { serial, certificateId }, made) ? certificateId : undefined;
}

export const toPaceText = (perSecond: number): string => perSecond.toFixed(3);

/** A number of devices a second. No account of AWS is faster than this. */
export function readPaceText(text: string): number | undefined {
  const perSecond = /^\d{1,5}(\.\d{1,3})?$/.test(text) ? Number(text) : 0;
  return perSecond > 0 ? perSecond : undefined;
}

/** A place in the line; Redis writes it as a number of up to 17 digits. */
export function readPlace(text: string): number | undefined {
  return /^-?\d{1,17}(\.\d{1,20})?(e\+1[5-7])?$/.test(text) ? Number(text) : undefined;
}

/** `<second> <answered> <waiting>`, as the script in `redis-line.ts` writes it. */
export function readLineSecond(text: string): LineSecond | undefined {
  const found = /^(\d{1,11}) (\d{1,7}) (\d{1,9})$/.exec(text);
  if (found === null) return undefined;
  const [second = 0, answered = 0, waiting = 0] = found.slice(1).map(Number);
  return { second, answered, waiting };
}

/** Serials whose entry changed: a transaction of a worker, at most. */
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

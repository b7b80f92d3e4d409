import type { Answer, Credentials } from '../answer.ts';
import type { OutgoingMessage } from '../dialect.ts';
import { writePayload } from '../encoding.ts';
import { packetFor, payloadRoom } from '../packet-size.ts';
import { type Problem, packetTooSmall, rejectionFields, shortRejection, statusCodes } from '../problems.ts';
import { compactPayload } from './compact.ts';
import type { CvmForm } from './request.ts';
import { cutIntoParts, headBytes, smallBelow, smallPending, smallRejected } from './small-packets.ts';

/** What a device of this dialect may get: it never asks to be registered by a template. */
export type CvmAnswer = Exclude<Answer, { status: 'registered' }>;

/** `maxPacket`, `extraBytes`: as `SessionView` says. `now`: epoch milliseconds. */
type ReplyPacket = {
  readonly topic: string;
  readonly maxPacket: number | undefined;
  readonly extraBytes?: number | undefined;
  readonly now: number;
};

/**
 * A reply, none of whose packets is longer than `maxPacket`. An accepted one that does not fit comes in parts; a rejection is shortened.
 * @returns undefined where not even a code fits beside the topic
 */
export function writeReply(
  answer: CvmAnswer,
  form: CvmForm,
  { topic, maxPacket, extraBytes = 0, now }: ReplyPacket,
): OutgoingMessage | undefined {
  const payload = encodeReply(answer, form, now);
  if (maxPacket === undefined) return { topic, payload };
  const room = payloadRoom(topic, maxPacket, extraBytes);
  if (answer.status !== 'accepted') return inOnePacket(topic, shortReply(answer, form, { room, maxPacket, now }));
  if (payload.length <= room) return { topic, payload };
  const unfit = (reason: Problem) =>
    inOnePacket(topic, shortReply({ status: 'rejected', problem: reason }, form, { room, maxPacket, now }));
  if (room < headBytes) return unfit(tooSmallFor(topic, extraBytes));
  return { topic, parts: cutIntoParts(encodeReply(answer, form), room, form.part, now) };
}

const inOnePacket = (topic: string, payload: Buffer | undefined): OutgoingMessage | undefined =>
  payload && { topic, payload };

/** Why replies on this topic cannot come in packets of this size; undefined where they can. */
export const unfitPacketSize = (topic: string, maxPacket: number, extraBytes = 0): Problem | undefined =>
  payloadRoom(topic, maxPacket, extraBytes) < headBytes ? tooSmallFor(topic, extraBytes) : undefined;

function tooSmallFor(topic: string, extraBytes: number): Problem {
  const least = packetFor(topic, headBytes, extraBytes);
  return packetTooSmall(least);
}

type Room = { readonly room: number; readonly maxPacket: number; readonly now: number };

function shortReply(
  answer: Exclude<CvmAnswer, { status: 'accepted' }>,
  form: CvmForm,
  { room, maxPacket, now }: Room,
): Buffer | undefined {
  if (maxPacket >= smallBelow) return encodeShortened(answer, form, room, now);
  if (answer.status === 'pending') return smallPending(answer, form.id, room);
  const { code: errorCode, ...reason } = answer.problem;
  return smallRejected({ statusCode: statusCodes[errorCode], errorCode, ...reason }, form.id, room);
}

/** The message is cut to the room that there is. */
function encodeShortened(
  answer: Exclude<CvmAnswer, { status: 'accepted' }>,
  form: CvmForm,
  room: number,
  now: number,
): Buffer | undefined {
  if (answer.status === 'rejected')
    return shortRejection(answer.problem, room, (reason) => encodeReply({ status: 'rejected', problem: reason }, form));
  const payload = encodeReply(answer, form, now);
  return payload.length <= room ? payload : undefined;
}

/**
 * The payload of a reply.
 * @param now epoch milliseconds; sent as `time` (epoch seconds), for devices without a clock: with a certificate, and to a device that
 * may leave and connect again. Without it, the same answer has the same bytes
 */
export function encodeReply(answer: CvmAnswer, form: CvmForm, now?: number): Buffer {
  const id = form.id === undefined ? {} : { id: form.id };
  const fields = { status: answer.status, ...id, ...fieldsOf(answer, form, now) };
  return form.format === 'compact' ? compactPayload(fields) : writePayload(fields, form.encoding);
}

function fieldsOf(answer: CvmAnswer, form: CvmForm, now: number | undefined) {
  if (answer.status === 'rejected') return rejectionFields(answer.problem);
  const time = now === undefined ? {} : { time: Math.floor(now / 1000) };
  if (answer.status === 'accepted') return { ...accepted(answer.credentials, form), ...time };
  const { position, etaSeconds, retryAfterSeconds: retryAfter } = answer;
  return { position, ...(etaSeconds === undefined ? {} : { etaSeconds }), retryAfter, ...time };
}

function accepted(credentials: Credentials, form: CvmForm) {
  const write = writerOf(form);
  const { certificateId, certificatePem, privateKeyPem, thingName, endpoint, rootCaPem, deviceConfiguration } =
    credentials;
  return {
    certificateId,
    certificatePem: write(certificatePem),
    ...(privateKeyPem === undefined ? {} : { privateKey: write(privateKeyPem) }),
    thingName,
    endpoint,
    ...(form.rootCa ? { rootCa: write(rootCaPem) } : {}),
    ...(deviceConfiguration === undefined ? {} : { deviceConfiguration }),
  };
}

function writerOf({ format, encoding }: CvmForm): (pem: string) => string | Uint8Array {
  if (format === 'pem') return (pem) => pem;
  return encoding === 'json' ? base64Der : (pem) => Buffer.from(base64Der(pem), 'base64');
}

/** A PEM block without its BEGIN and END lines (RFC 7468): base64 of the DER. */
function base64Der(pem: string): string {
  return pem.replace(/-----(BEGIN|END) [A-Z0-9 ]+-----|\s/g, '');
}

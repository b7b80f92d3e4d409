import { writePayload } from '../encoding.ts';
import { type Problem, statusCodes } from '../problems.ts';
import type { Request } from './request.ts';

/** What a vend hands to a device. `privateKeyPem` is there when AWS or the gateway made the key. */
export type Credentials = {
  readonly certificateId: string;
  readonly certificatePem: string;
  readonly privateKeyPem?: string;
  readonly thingName: string;
  readonly endpoint: string;
  readonly rootCaPem: string;
};

/** The answer to one request, before it takes the form that the device asked for. */
export type Answer = { readonly accepted: Credentials } | { readonly rejected: Problem };

/** What of a request shapes the form of its reply. */
export type ReplyForm = Pick<Request, 'id' | 'format' | 'encoding'>;

/**
 * The payload of a reply message, in the encoding of its question. A rejection always has statusCode, errorCode and errorMessage, as in AWS IoT
 * Fleet Provisioning, so that one parser serves both.
 * @param now epoch milliseconds; sent as `time` (epoch seconds), for devices without a clock
 */
export function encodeReply(answer: Answer, form: ReplyForm, now: number): Buffer {
  const id = form.id === undefined ? {} : { id: form.id };
  const body =
    'accepted' in answer
      ? { status: 'accepted', ...id, ...accepted(answer.accepted, form), time: Math.floor(now / 1000) }
      : { status: 'rejected', ...id, ...rejected(answer.rejected) };
  return writePayload(body, form.encoding);
}

function accepted(credentials: Credentials, form: ReplyForm) {
  const write = writerOf(form);
  const { certificateId, certificatePem, privateKeyPem, thingName, endpoint, rootCaPem } = credentials;
  return {
    certificateId,
    certificatePem: write(certificatePem),
    ...(privateKeyPem === undefined ? {} : { privateKey: write(privateKeyPem) }),
    thingName,
    endpoint,
    rootCa: write(rootCaPem),
  };
}

function rejected(reason: Problem) {
  const retry = reason.retryAfterSeconds === undefined ? {} : { retryAfter: reason.retryAfterSeconds };
  return { statusCode: statusCodes[reason.code], errorCode: reason.code, errorMessage: reason.message, ...retry };
}

function writerOf({ format, encoding }: ReplyForm): (pem: string) => string | Uint8Array {
  if (format === 'pem') return (pem) => pem;
  return encoding === 'json' ? base64Der : (pem) => Buffer.from(base64Der(pem), 'base64');
}

/** A PEM block without its armour (RFC 7468): base64 of the DER. */
function base64Der(pem: string): string {
  return pem.replace(/-----(BEGIN|END) [A-Z0-9 ]+-----|\s/g, '');
}

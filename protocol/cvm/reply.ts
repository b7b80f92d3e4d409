import type { Answer, Credentials } from '../answer.ts';
import { writePayload } from '../encoding.ts';
import { type Problem, statusCodes } from '../problems.ts';
import type { CvmForm } from './request.ts';

/**
 * The payload of a reply. A rejection always has statusCode, errorCode and errorMessage, as in AWS IoT Fleet Provisioning,
 * so that one parser serves both.
 * @param now epoch milliseconds; sent as `time` (epoch seconds), for devices without a clock
 */
export function encodeReply(answer: Answer, form: CvmForm, now: number): Buffer {
  const id = form.id === undefined ? {} : { id: form.id };
  return writePayload({ status: answer.status, ...id, ...fieldsOf(answer, form, now) }, form.encoding);
}

function fieldsOf(answer: Answer, form: CvmForm, now: number) {
  if (answer.status === 'accepted') return { ...accepted(answer.credentials, form), time: Math.floor(now / 1000) };
  if (answer.status === 'rejected') return rejected(answer.problem);
  const { position, etaSeconds, retryAfterSeconds: retryAfter } = answer;
  return etaSeconds === undefined ? { position, retryAfter } : { position, etaSeconds, retryAfter };
}

function accepted(credentials: Credentials, form: CvmForm) {
  const write = writerOf(form);
  const { certificateId, certificatePem, privateKeyPem, thingName, endpoint, rootCaPem } = credentials;
  return {
    certificateId,
    certificatePem: write(certificatePem),
    ...(privateKeyPem === undefined ? {} : { privateKey: write(privateKeyPem) }),
    thingName,
    endpoint,
    ...(form.rootCa ? { rootCa: write(rootCaPem) } : {}),
  };
}

function rejected(reason: Problem) {
  const retry = reason.retryAfterSeconds === undefined ? {} : { retryAfter: reason.retryAfterSeconds };
  return { statusCode: statusCodes[reason.code], errorCode: reason.code, errorMessage: reason.message, ...retry };
}

function writerOf({ format, encoding }: CvmForm): (pem: string) => string | Uint8Array {
  if (format === 'pem') return (pem) => pem;
  return encoding === 'json' ? base64Der : (pem) => Buffer.from(base64Der(pem), 'base64');
}

/** A PEM block without its BEGIN and END lines (RFC 7468): base64 of the DER. */
function base64Der(pem: string): string {
  return pem.replace(/-----(BEGIN|END) [A-Z0-9 ]+-----|\s/g, '');
}

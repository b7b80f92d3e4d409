import type { Answer, Credentials } from '../answer.ts';
import { writePayload } from '../encoding.ts';
import { rejectionFields } from '../problems.ts';
import type { CvmForm } from './request.ts';

/**
 * The payload of a reply.
 * @param now epoch milliseconds; sent as `time` (epoch seconds), for devices without a clock: with a certificate, and to a device that
 * may leave and connect again
 */
export function encodeReply(answer: Answer, form: CvmForm, now: number): Buffer {
  const id = form.id === undefined ? {} : { id: form.id };
  return writePayload({ status: answer.status, ...id, ...fieldsOf(answer, form, now) }, form.encoding);
}

function fieldsOf(answer: Answer, form: CvmForm, now: number) {
  if (answer.status === 'rejected') return rejectionFields(answer.problem);
  if (answer.status === 'registered') return { thingName: answer.thingName };
  const time = Math.floor(now / 1000);
  if (answer.status === 'accepted') return { ...accepted(answer.credentials, form), time };
  const { position, etaSeconds, retryAfterSeconds: retryAfter } = answer;
  return { position, ...(etaSeconds === undefined ? {} : { etaSeconds }), retryAfter, time };
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

function writerOf({ format, encoding }: CvmForm): (pem: string) => string | Uint8Array {
  if (format === 'pem') return (pem) => pem;
  return encoding === 'json' ? base64Der : (pem) => Buffer.from(base64Der(pem), 'base64');
}

/** A PEM block without its BEGIN and END lines (RFC 7468): base64 of the DER. */
function base64Der(pem: string): string {
  return pem.replace(/-----(BEGIN|END) [A-Z0-9 ]+-----|\s/g, '');
}

import { z } from 'zod';
import { type CertificateRequest, maxPayloadBytes, type RegistrationRequest } from '../dialect.ts';
import { type Encoding, encodingOf, readPayload } from '../encoding.ts';
import { type Problem, problem } from '../problems.ts';
import { parametersShape, tooLongParameters } from '../template-parameters.ts';

/*
 * The payloads of AWS IoT Fleet Provisioning. Unknown keys are ignored: old clients send `templateName` in the payload as well. Error
 * texts quote no value.
 */

const text = (name: string) => z.string(`"${name}" must be a string`);

/** CreateCertificateFromCsr. */
const fromCsr = z.object({
  certificateSigningRequest: text('certificateSigningRequest').min(1, '"certificateSigningRequest" is empty'),
});

/** RegisterThing. */
const registration = z.object({
  certificateOwnershipToken: text('certificateOwnershipToken').default(''),
  parameters: parametersShape,
});

type Read<T> = T | { readonly problem: Problem };

/** CreateKeysAndCertificate has no fields: the payload is empty, `{}`, or whatever a client sends. */
export function readCreate(payload: Uint8Array): Read<CertificateRequest> {
  const read = payload.byteLength > maxPayloadBytes ? tooLarge(payload) : readPayload(payload);
  if ('problem' in read) return read;
  // it would get a certificate for another key than its own
  if ('value' in read && 'certificateSigningRequest' in read.value)
    return { problem: problem('InvalidRequest', 'this topic takes no CSR: publish it to create-from-csr') };
  return { key: 'rsa' };
}

export function readCreateFromCsr(payload: Uint8Array, encoding: Encoding): Read<CertificateRequest> {
  const read = readFields(payload, encoding, fromCsr);
  return 'problem' in read ? read : { csr: read.certificateSigningRequest, key: 'rsa' };
}

export function readRegistration(
  payload: Uint8Array,
  encoding: Encoding,
): Read<Omit<RegistrationRequest, 'templateName'>> {
  const read = readFields(payload, encoding, registration);
  if ('problem' in read) return read;
  const { certificateOwnershipToken: ownershipToken, parameters } = read;
  if (ownershipToken === '') return { problem: noOwnershipToken };
  const tooLong = tooLongParameters(parameters);
  return tooLong === undefined ? { ownershipToken, parameters } : { problem: tooLong };
}

/** In the words of AWS. */
const noOwnershipToken = problem('InvalidCertificateOwnershipToken', 'Certificate ownership token cannot be empty.');

function readFields<T>(payload: Uint8Array, encoding: Encoding, shape: z.ZodType<T>): Read<T> {
  if (payload.byteLength > maxPayloadBytes) return tooLarge(payload);
  const read = readPayload(payload);
  if ('fault' in read) return { problem: problem('InvalidRequest', read.fault) };
  const found = encodingOf(payload);
  if (found !== encoding)
    return {
      problem: problem(
        'InvalidRequest',
        `this topic takes ${encoding.toUpperCase()}, and the payload is ${found.toUpperCase()}`,
      ),
    };
  const result = shape.safeParse(read.value);
  if (result.success) return result.data;
  const reasons = [...new Set(result.error.issues.map((issue) => issue.message))].join('; ');
  return { problem: problem('InvalidRequest', reasons) };
}

const tooLarge = ({ byteLength }: Uint8Array) => ({
  problem: problem('PayloadTooLarge', `the request has ${byteLength} bytes; at most ${maxPayloadBytes} are taken`),
});

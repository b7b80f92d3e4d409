import { z } from 'zod';
import { maxPayloadBytes } from '../dialect.ts';
import { type Encoding, encodingOf, readPayload } from '../encoding.ts';
import { type Problem, problem } from '../problems.ts';
import { malformedToken } from '../token.ts';

const text = (name: string) => z.string(`"${name}" must be a string`);

/**
 * The fields of a request. Unknown keys are ignored: old gateways must take what newer firmware sends. Error texts never
 * quote a value: it may be a token.
 */
const shape = z.object({
  id: text('id').max(36, '"id" has at most 36 characters').optional(),
  token: text('token')
    .check(({ value, issues }) => {
      const message = malformedToken(value);
      if (message !== undefined) issues.push({ code: 'custom', message: `"token": ${message}`, input: undefined });
    })
    .optional(),
  /** PEM or base64 DER, not yet verified */
  csr: z
    .union([text('csr'), z.instanceof(Uint8Array)], '"csr" must be a string, or bytes in CBOR')
    .transform((csr) => (typeof csr === 'string' ? csr : textOfBytes(csr)))
    .pipe(z.string().min(1, '"csr" is empty'))
    .optional(),
  key: z.enum(['rsa', 'ec'], '"key" must be "rsa" or "ec"').default('rsa'),
  format: z.enum(['pem', 'der'], '"format" must be "pem" or "der"').default('pem'),
  /** whether the reply has the CA certificate of the endpoint in it */
  rootCa: z.boolean('"rootCa" must be true or false').default(true),
  /** whether the device is told how long it will wait */
  pending: z.boolean('"pending" must be true or false').default(true),
});

/** The bytes of a CSR are its DER; firmware that has PEM only may send that as bytes, too. */
function textOfBytes(csr: Uint8Array): string {
  const bytes = Buffer.from(csr);
  return bytes.subarray(0, 5).equals(pemDashes) ? bytes.toString('latin1') : bytes.toString('base64');
}

const pemDashes = Buffer.from('-----');

/** A request after parsing. Everything but the token may be logged. */
export type CvmRequest = Readonly<z.output<typeof shape>> & { readonly encoding: Encoding };

/** What is left of a request when its content is taken out: all that shapes its reply. */
export type CvmForm = Omit<CvmRequest, 'token' | 'csr' | 'key'>;

/** The form of a reply to a request that gave none, since it could not be read. */
export function defaultForm(encoding: Encoding): CvmForm {
  const { token, csr, key, ...form } = shape.parse({});
  return { ...form, encoding };
}

export type Parsed =
  | { readonly ok: true; readonly request: CvmRequest }
  | { readonly ok: false; readonly problem: Problem; readonly id?: string };

/** Parses a request payload, JSON or CBOR. A refusal says what is wrong with it and carries the device's `id` where one could be read. */
export function parseRequest(payload: Uint8Array): Parsed {
  if (payload.byteLength > maxPayloadBytes)
    return refuse(
      problem('PayloadTooLarge', `the request has ${payload.byteLength} bytes; at most ${maxPayloadBytes} are taken`),
    );
  const read = readPayload(payload);
  if ('fault' in read) return refuse(problem('InvalidRequest', read.fault));
  const { value } = read;
  const result = shape.safeParse(value);
  if (result.success) return { ok: true, request: { ...result.data, encoding: encodingOf(payload) } };
  const reasons = [...new Set(result.error.issues.map((issue) => issue.message))].join('; ');
  return refuse(problem('InvalidRequest', reasons), readId(value));
}

function refuse(reason: Problem, id?: string): Parsed {
  return id === undefined ? { ok: false, problem: reason } : { ok: false, problem: reason, id };
}

function readId(value: object): string | undefined {
  const id = (value as { id?: unknown }).id;
  return typeof id === 'string' && id.length <= 36 ? id : undefined;
}

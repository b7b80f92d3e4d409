import { z } from 'zod';
import { maxPayloadBytes } from '../dialect.ts';
import { type Encoding, encodingOf, readPayload } from '../encoding.ts';
import { largestPacket } from '../packet-size.ts';
import { type Problem, problem } from '../problems.ts';
import { parametersShape, tooLongParameters } from '../template-parameters.ts';
import { malformedToken } from '../token.ts';

/** Smallest `maxPacket`, in bytes. */
export const smallestPacket = 128;

const notAPart = '"part" must be the number of a part, 0 to 65535';

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
  /** `compact`: DER, and numbers as keys of the CBOR map */
  format: z.enum(['pem', 'der', 'compact'], '"format" must be "pem", "der" or "compact"').default('pem'),
  /** whether the reply has the CA certificate of the endpoint in it */
  rootCa: z.boolean('"rootCa" must be true or false').default(true),
  /** whether the device is told how long it will wait */
  pending: z.boolean('"pending" must be true or false').default(true),
  /** largest packet that the device can take, in bytes, header included */
  maxPacket: z
    .int('"maxPacket" must be a whole number')
    .min(smallestPacket, `"maxPacket" is at least ${smallestPacket}`)
    .max(largestPacket, `"maxPacket" is at most ${largestPacket}`)
    .optional(),
  /** of a reply that comes in parts: the first one to send */
  part: z.int(notAPart).min(0, notAPart).max(0xffff, notAPart).default(0),
  /** the name of a provisioning template, and its parameters */
  template: text('template').min(1, '"template" is empty').max(36, '"template" has at most 36 characters').optional(),
  parameters: parametersShape,
});

/** The bytes of a CSR are its DER; firmware that has PEM only may send that as bytes, too. */
function textOfBytes(csr: Uint8Array): string {
  const bytes = Buffer.from(csr);
  return bytes.subarray(0, 5).equals(pemDashes) ? bytes.toString('latin1') : bytes.toString('base64');
}

const pemDashes = Buffer.from('-----');

/** A request after parsing. Everything but the token may be logged. */
export type CvmRequest = Readonly<z.output<typeof shape>> & {
  readonly encoding: Encoding;
  /** a key that is ignored, and probably was to be `token` */
  readonly misspeltToken?: string | undefined;
};

/** The fields of a request that shape its reply: id, encoding, format and sizes. */
export type CvmForm = Omit<
  CvmRequest,
  'misspeltToken' | 'token' | 'csr' | 'key' | 'maxPacket' | 'template' | 'parameters'
>;

/** The form of a reply to a request that gave none, since it could not be read. */
export function defaultForm(encoding: Encoding): CvmForm {
  const { token, csr, key, maxPacket, template, parameters, ...form } = shape.parse({});
  return { ...form, encoding };
}

export type Parsed =
  | { readonly ok: true; readonly request: CvmRequest }
  | { readonly ok: false; readonly problem: Problem; readonly id?: string; readonly maxPacket?: number };

/** Parses a request payload, JSON or CBOR. A refusal says what is wrong with it and carries the device's `id` and `maxPacket` where they could be read. */
export function parseRequest(payload: Uint8Array): Parsed {
  if (payload.byteLength > maxPayloadBytes)
    return refuse(
      problem('PayloadTooLarge', `the request has ${payload.byteLength} bytes; at most ${maxPayloadBytes} are taken`),
    );
  const read = readPayload(payload);
  if ('fault' in read) return refuse(problem('InvalidRequest', read.fault));
  const { value } = read;
  const result = shape.safeParse(value);
  const encoding = encodingOf(payload);
  if (result.success && (result.data.format !== 'compact' || encoding === 'cbor')) {
    const tooLong = tooLongParameters(result.data.parameters);
    if (tooLong !== undefined) return refuse(tooLong, readId(value), readMaxPacket(value));
    return { ok: true, request: { ...result.data, encoding, misspeltToken: misspeltToken(value) } };
  }
  const issues = result.success ? [compactIsCbor] : result.error.issues.map((issue) => issue.message);
  const reasons = [...new Set(issues)].join('; ');
  return refuse(problem('InvalidRequest', reasons), readId(value), readMaxPacket(value));
}

/** `Token`, `TOKEN`, `access_token`, `registrationToken`. Letters only, and short: it is told to the device, and to the log. */
const misspeltToken = (value: object): string | undefined =>
  'token' in value ? undefined : Object.keys(value).find((key) => /^[a-z_ ]{0,16}token ?$/i.test(key));

const compactIsCbor = '"format":"compact" is for requests in CBOR';

function refuse(reason: Problem, id?: string, maxPacket?: number): Parsed {
  const has = { ...(id === undefined ? {} : { id }), ...(maxPacket === undefined ? {} : { maxPacket }) };
  return { ok: false, problem: reason, ...has };
}

/** A device whose packets are too small for any reply must be able to read that. */
function readMaxPacket(value: object): number | undefined {
  const { maxPacket } = value as { maxPacket?: unknown };
  const isSize = typeof maxPacket === 'number' && maxPacket <= largestPacket;
  return isSize ? Math.max(smallestPacket, Math.floor(maxPacket)) : undefined;
}

function readId(value: object): string | undefined {
  const id = (value as { id?: unknown }).id;
  return typeof id === 'string' && id.length <= 36 ? id : undefined;
}

import { createHash, createPublicKey, type KeyObject, verify } from 'node:crypto';
import { type Problem, problem } from '../protocol/problems.ts';
import { toPem } from '../runtime/pem.ts';
import { type CsrForm, readCsrForm } from './csr-form.ts';
import { decodeCsr, otherDer } from './csr-text.ts';
import { rsaWeakness } from './rsa-weakness.ts';

export type CheckedCsr =
  | {
      readonly ok: true;
      readonly csrPem: string;
      /** hex SHA-256 of the public key's SPKI */
      readonly keyDigest: string;
    }
  | { readonly ok: false; readonly problem: Problem };

/** AWS IoT CreateCertificateFromCsr takes at most 4,096 characters of PEM. */
const maxPemCharacters = 4096;

/**
 * Checks a certificate request before it is queued, so that a device hears at once what AWS would refuse minutes later.
 * Takes PEM or base64 DER (RFC 2986) as sent by a device, also with damage that leaves no doubt; returns one PEM block, "CERTIFICATE REQUEST", 64 columns.
 * Accepted: RSA 2048–4096 with e = 65537 and no known weakness, P-256, P-384; signed by the very key, with SHA-256, SHA-384 or SHA-512.
 * Everything else is an `InvalidCsr` problem. Never throws, whatever the input.
 */
export function checkCsr(text: string): CheckedCsr {
  if (typeof text !== 'string') return refuse('the CSR must be a string: PEM, or base64 of the DER form');
  if (text.length > maxPemCharacters)
    return refuse(`the CSR has ${text.length} characters; at most ${maxPemCharacters} are taken`);
  const der = decodeCsr(text);
  if (typeof der === 'string') return refuse(der);
  const csrPem = toPem('CERTIFICATE REQUEST', der);
  if (csrPem.length > maxPemCharacters)
    return refuse(`the CSR has ${csrPem.length} characters as PEM; at most ${maxPemCharacters} are taken`);
  try {
    const csr = readCsrForm(der);
    const key = readKey(csr.spki);
    if (typeof key === 'string') return refuse(key);
    if (csr.algorithm === undefined) return refuse('the CSR must be signed with SHA-256, SHA-384 or SHA-512');
    if (!isSignedBy(key, csr)) return refuse(badSignature);
    return { ok: true, csrPem, keyDigest: createHash('sha256').update(csr.spki).digest('hex') };
  } catch {
    return refuse(otherDer(der) ?? 'the CSR is not a PKCS#10 certificate request (RFC 2986)');
  }
}

const badSignature =
  'the signature of the CSR does not fit its own public key; sign it with the private key that belongs to that public key';

function refuse(message: string): CheckedCsr {
  return { ok: false, problem: problem('InvalidCsr', message) };
}

/** @returns the reason for which the key cannot be certified, as text */
function readKey(spki: Buffer): KeyObject | string {
  const point = parses(() => readPoint(spki));
  if (point !== undefined) return point;
  const key = parses(() => createPublicKey({ key: spki, format: 'der', type: 'spki' }));
  if (key === undefined) return 'the public key in the CSR cannot be read; send RSA 2048–4096, P-256 or P-384';
  return kindReason(key) ?? encodingReason(key, spki) ?? weaknessReason(key) ?? key;
}

/** An uncompressed point on a named curve in DER (RFC 5480 §2): the prefix, then x and y. */
const curves = [
  { crv: 'P-256', bytes: 32, prefix: Buffer.from('3059301306072a8648ce3d020106082a8648ce3d03010703420004', 'hex') },
  { crv: 'P-384', bytes: 48, prefix: Buffer.from('3076301006072a8648ce3d020106052b8104002203620004', 'hex') },
];

/**
 * Reads the keys that almost all devices have, in the one encoding that is taken. Node.js reads a JWK in a tenth of the time of DER.
 * @returns undefined for a key of another kind @throws where the point is not on the curve
 */
function readPoint(spki: Buffer): KeyObject | undefined {
  const curve = curves.find(
    ({ prefix, bytes }) => spki.length === prefix.length + 2 * bytes && spki.indexOf(prefix) === 0,
  );
  if (curve === undefined) return undefined;
  const { crv, bytes, prefix } = curve;
  const [x, y] = [spki.subarray(prefix.length, prefix.length + bytes), spki.subarray(prefix.length + bytes)];
  const jwk = { kty: 'EC', crv, x: x.toString('base64url'), y: y.toString('base64url') };
  return createPublicKey({ key: jwk, format: 'jwk' });
}

function kindReason(key: KeyObject): string | undefined {
  const { modulusLength, publicExponent, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'rsa') {
    if (modulusLength === undefined || modulusLength < 2048 || modulusLength > 4096)
      return `the RSA key of the CSR has ${modulusLength} bits; use 2048 to 4096`;
    return publicExponent === 65537n ? undefined : 'the RSA key of the CSR must have the public exponent 65537';
  }
  if (key.asymmetricKeyType !== 'ec')
    return `a key of type "${key.asymmetricKeyType}" cannot be certified; use RSA 2048–4096, P-256 or P-384`;
  if (namedCurve !== 'prime256v1' && namedCurve !== 'secp384r1')
    return `the curve ${namedCurve ?? 'of the CSR'} cannot be certified; use P-256 (prime256v1) or P-384 (secp384r1)`;
  return undefined;
}

/** "The same key" is decided by the digest of the SPKI, so a key must have only one: RFC 3279 2.3.1, RFC 5480 2.1.1 and 2.2. */
function encodingReason(key: KeyObject, spki: Buffer): string | undefined {
  if (canonicalSpki(key).equals(spki)) return undefined;
  return key.asymmetricKeyType === 'ec'
    ? 'the EC public key must be an uncompressed point on a named curve (RFC 5480)'
    : 'the RSA public key must be DER: rsaEncryption with NULL parameters (RFC 3279), shortest lengths, nothing after it';
}

function weaknessReason(key: KeyObject): string | undefined {
  const weakness = key.asymmetricKeyType === 'rsa' ? rsaWeakness(modulusOf(key)) : undefined;
  return weakness && `the RSA key of the CSR can be factored: ${weakness}; make another one`;
}

function modulusOf(key: KeyObject): bigint {
  const { n = '' } = key.export({ format: 'jwk' });
  return BigInt(`0x${Buffer.from(n, 'base64url').toString('hex')}`);
}

function canonicalSpki(key: KeyObject): Buffer {
  const rebuilt = createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  return rebuilt.export({ format: 'der', type: 'spki' });
}

/** A signature that is not even one, DER of two numbers for ECDSA, is not valid either. */
function isSignedBy(key: KeyObject, { algorithm, info, signature }: CsrForm): boolean {
  // the key would verify with its own algorithm, whatever the CSR says
  if (algorithm === undefined || algorithm.keyType !== key.asymmetricKeyType) return false;
  return parses(() => verify(algorithm.hash, info, { key, ...algorithm.pss }, signature)) ?? false;
}

function parses<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

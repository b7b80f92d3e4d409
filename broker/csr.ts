import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { type Problem, problem } from '../protocol/problems.ts';
import { Pkcs10CertificateRequest } from '../runtime/x509.ts';
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

/** RFC 7468 section 7: generators that follow old Netscape practice write NEW, and it means the same. */
const pemBlock =
  /^\s*-----BEGIN ((?:NEW )?CERTIFICATE REQUEST)-----[ \t]*\r?\n([A-Za-z0-9+/= \t\r\n]+?)\r?\n-----END \1-----\s*$/;

/**
 * Checks a certificate request before it is queued, so that a device hears at once what AWS would refuse minutes later.
 * Takes PEM or base64 DER (RFC 2986) as sent by a device; returns one PEM block, "CERTIFICATE REQUEST", 64 columns.
 * Accepted: RSA 2048–4096 with e = 65537 and no known weakness, P-256, P-384; signed by the very key, with SHA-256, SHA-384 or SHA-512.
 * Everything else is an `InvalidCsr` problem. Never throws or rejects, whatever the input.
 */
export async function checkCsr(text: string): Promise<CheckedCsr> {
  if (typeof text !== 'string') return refuse('the CSR must be a string: PEM, or base64 of the DER form');
  if (text.length > maxPemCharacters)
    return refuse(`the CSR has ${text.length} characters; at most ${maxPemCharacters} are taken`);
  const der = decode(text);
  if (typeof der === 'string') return refuse(der);
  const csrPem = toPem(der);
  if (csrPem.length > maxPemCharacters)
    return refuse(`the CSR has ${csrPem.length} characters as PEM; at most ${maxPemCharacters} are taken`);
  try {
    const csr = new Pkcs10CertificateRequest(der);
    const reason = keyReason(Buffer.from(csr.publicKey.rawData)) ?? hashReason(csr);
    if (reason !== undefined) return refuse(reason);
    if (!(await verifies(csr))) return refuse(badSignature);
    return {
      ok: true,
      csrPem,
      keyDigest: createHash('sha256').update(Buffer.from(csr.publicKey.rawData)).digest('hex'),
    };
  } catch {
    // the parser's own messages name its classes, and would not help a firmware engineer
    return refuse('the CSR is not a PKCS#10 certificate request (RFC 2986)');
  }
}

const badSignature =
  'the signature of the CSR does not fit its own public key; sign it with the private key that belongs to that public key';

function refuse(message: string): CheckedCsr {
  return { ok: false, problem: problem('InvalidCsr', message) };
}

/** The DER bytes of a PEM block or of bare base64; where it is neither, the reason as text. */
function decode(text: string): Buffer | string {
  const isPem = text.includes('-----');
  const body = isPem ? pemBlock.exec(text)?.[2] : text;
  if (body === undefined)
    return 'the CSR must be exactly one PEM block, from -----BEGIN CERTIFICATE REQUEST----- to -----END CERTIFICATE REQUEST-----, with nothing before or after it';
  const base64 = body.replace(/[ \t\r\n]+/g, '');
  const der = Buffer.from(base64, 'base64');
  // Buffer.from skips characters that are not base64; text that encodes back to itself had none (RFC 4648 section 3.5)
  if (base64 === '' || der.toString('base64') !== base64)
    return 'the CSR is neither PEM nor valid base64 (standard alphabet, with = padding, nothing else)';
  if (sequenceLength(der) !== der.length)
    return 'the CSR must be one DER SEQUENCE (PKCS#10, RFC 2986) with nothing after it';
  return der;
}

/** How many bytes the DER SEQUENCE at the start takes (X.690 8.1.3), or undefined. 4,096 characters need no long lengths. */
function sequenceLength(der: Buffer): number | undefined {
  const [tag, first = 0, second = 0, third = 0] = der;
  if (tag !== 0x30) return undefined;
  if (first < 0x80) return 2 + first;
  if (first === 0x81) return 3 + second;
  if (first === 0x82) return 4 + second * 256 + third;
  return undefined;
}

function toPem(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? [];
  return ['-----BEGIN CERTIFICATE REQUEST-----', ...lines, '-----END CERTIFICATE REQUEST-----', ''].join('\n');
}

function keyReason(spki: Buffer): string | undefined {
  const key = readKey(spki);
  if (key === undefined) return 'the public key in the CSR cannot be read; send RSA 2048–4096, P-256 or P-384';
  return kindReason(key) ?? encodingReason(key, spki) ?? weaknessReason(key);
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

function readKey(spki: Buffer): KeyObject | undefined {
  try {
    return createPublicKey({ key: spki, format: 'der', type: 'spki' });
  } catch {
    return undefined;
  }
}

function canonicalSpki(key: KeyObject): Buffer {
  const rebuilt = createPublicKey({ key: key.export({ format: 'jwk' }), format: 'jwk' });
  return rebuilt.export({ format: 'der', type: 'spki' });
}

function hashReason(csr: Pkcs10CertificateRequest): string | undefined {
  const hash = (csr.signatureAlgorithm as { hash?: { name?: unknown } | null }).hash?.name;
  if (hash === 'SHA-256' || hash === 'SHA-384' || hash === 'SHA-512') return undefined;
  return 'the CSR must be signed with SHA-256, SHA-384 or SHA-512';
}

/** WebCrypto throws where key and algorithm do not fit, or where the signature is not DER. Such a signature is not valid. */
async function verifies(csr: Pkcs10CertificateRequest): Promise<boolean> {
  try {
    return await csr.verify();
  } catch {
    return false;
  }
}

import { createHash, createPublicKey, type KeyObject } from 'node:crypto';
import { type Problem, problem } from '../protocol/problems.ts';
import { Pkcs10CertificateRequest } from '../runtime/x509.ts';
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
 * Everything else is an `InvalidCsr` problem. Never throws or rejects, whatever the input.
 */
export async function checkCsr(text: string): Promise<CheckedCsr> {
  if (typeof text !== 'string') return refuse('the CSR must be a string: PEM, or base64 of the DER form');
  if (text.length > maxPemCharacters)
    return refuse(`the CSR has ${text.length} characters; at most ${maxPemCharacters} are taken`);
  const der = decodeCsr(text);
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
    return refuse(otherDer(der) ?? 'the CSR is not a PKCS#10 certificate request (RFC 2986)');
  }
}

const badSignature =
  'the signature of the CSR does not fit its own public key; sign it with the private key that belongs to that public key';

function refuse(message: string): CheckedCsr {
  return { ok: false, problem: problem('InvalidCsr', message) };
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

import { createHash, type KeyObject, verify } from 'node:crypto';
import { type Problem, problem } from '../protocol/problems.ts';
import { toPem } from '../runtime/pem.ts';
import { type CsrForm, readCsrForm } from './csr-form.ts';
import { readKey } from './csr-key.ts';
import { decodeCsr, otherDer } from './csr-text.ts';

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
    return refuse(otherDer(der) ?? malformed);
  }
}

const malformed =
  'the CSR is not a PKCS#10 certificate request (RFC 2986), or a value in it is not what its type says, such as a name that is not UTF-8';
const badSignature =
  'the signature of the CSR does not fit its own public key; sign it with the private key that belongs to that public key';

function refuse(message: string): CheckedCsr {
  return { ok: false, problem: problem('InvalidCsr', message) };
}

/** A signature that is not even one, DER of two numbers for ECDSA, is not valid either. */
function isSignedBy(key: KeyObject, { algorithm, info, signature }: CsrForm): boolean {
  // the key would verify with its own algorithm, whatever the CSR says
  if (algorithm === undefined || algorithm.keyType !== key.asymmetricKeyType) return false;
  try {
    return verify(algorithm.hash, info, { key, ...algorithm.pss }, signature);
  } catch {
    return false;
  }
}

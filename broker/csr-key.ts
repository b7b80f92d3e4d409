import { createPublicKey, type KeyObject } from 'node:crypto';
import { contentOf, type DerElement, derTag, readDer, readWithin, writeDer } from '../runtime/der.ts';
import { rsaWeakness } from './rsa-weakness.ts';

/*
 * A public key of a stranger is read here, and not by OpenSSL, which gets numbers only, when their sizes are known. Its reader takes more than can
 * be certified, and for some of that Node.js ends the process: `asymmetricKeyDetails` does so (seen with 20.20) for a key that is the point
 * at infinity. "The same key" is decided by the digest of the SPKI, so a key has one encoding: RFC 3279 §2.3.1, RFC 5480 §2.1.1 and §2.2.
 */

const unreadable = 'the public key in the CSR cannot be read; send RSA 2048–4096, P-256 or P-384';
const unusualPoint = 'the EC public key must be an uncompressed point on a named curve (RFC 5480)';
const unusualRsa =
  'the RSA public key must be DER: rsaEncryption with NULL parameters (RFC 3279), shortest lengths, nothing after it';

/** By the object identifiers in hex. */
const keyTypes: Readonly<Record<string, string>> = {
  '2a864886f70d01010a': 'rsa-pss',
  '2a8648ce380401': 'dsa',
  '2a864886f70d010301': 'dh',
  '2b656e': 'x25519',
  '2b656f': 'x448',
  '2b6570': 'ed25519',
  '2b6571': 'ed448',
};
const ecPublicKey = '2a8648ce3d0201';
/** `rsaEncryption`, and the name that X.509 had for it */
const [rsaEncryption, rsaOfX509] = ['2a864886f70d010101', '55080101'];

/** `crv` and `bytes`: of those that can be certified. */
const curves: Readonly<Record<string, { readonly name: string; readonly crv?: string; readonly bytes?: number }>> = {
  '2a8648ce3d030107': { name: 'prime256v1', crv: 'P-256', bytes: 32 },
  '2b81040022': { name: 'secp384r1', crv: 'P-384', bytes: 48 },
  '2b81040023': { name: 'secp521r1' },
  '2b81040021': { name: 'secp224r1' },
  '2b8104000a': { name: 'secp256k1' },
};

/** @returns the key; or the reason for which it cannot be certified, as text. Never throws */
export function readKey(spki: Buffer): KeyObject | string {
  try {
    const [algorithm, bits] = readWithin(readDer(spki)[0], derTag.sequence);
    const [type, parameters] = readWithin(algorithm, derTag.sequence);
    const [unused, ...key] = contentOf(bits, derTag.bitString);
    if (unused !== 0) return unreadable;
    const oid = contentOf(type, derTag.oid).toString('hex');
    if (oid === ecPublicKey) return readPoint(spki, parameters, Buffer.from(key));
    if (oid === rsaEncryption || oid === rsaOfX509) return readRsa(spki, Buffer.from(key));
    return `a key of type "${keyTypes[oid] ?? 'unknown'}" cannot be certified; use RSA 2048–4096, P-256 or P-384`;
  } catch {
    return unreadable;
  }
}

/** @throws where the point is not on the curve */
function readPoint(spki: Buffer, parameters: DerElement | undefined, point: Buffer): KeyObject | string {
  if (parameters?.tag !== derTag.oid) return unusualPoint;
  const { name = 'of the CSR', crv, bytes } = curves[parameters.content.toString('hex')] ?? {};
  if (crv === undefined || bytes === undefined)
    return `the curve ${name} cannot be certified; use P-256 (prime256v1) or P-384 (secp384r1)`;
  if (point[0] !== 4 || point.length !== 1 + 2 * bytes || !spki.equals(spkiOf(ecPublicKey, parameters.whole, point)))
    return unusualPoint;
  const [x, y] = [point.subarray(1, 1 + bytes), point.subarray(1 + bytes)];
  const jwk = { kty: 'EC', crv, x: x.toString('base64url'), y: y.toString('base64url') };
  return createPublicKey({ key: jwk, format: 'jwk' });
}

function readRsa(spki: Buffer, key: Buffer): KeyObject | string {
  const [modulus, exponent] = readWithin(readDer(key)[0], derTag.sequence).map(numberIn);
  if (modulus === undefined || exponent === undefined) return unreadable;
  const bits = modulus.toString(2).length;
  if (bits < 2048 || bits > 4096) return `the RSA key of the CSR has ${bits} bits; use 2048 to 4096`;
  if (exponent !== 65537n) return 'the RSA key of the CSR must have the public exponent 65537';
  const n = Buffer.from(evenHex(modulus), 'hex');
  const numbers = writeDer(derTag.sequence, integerOf(n), integerOf(Buffer.from([1, 0, 1])));
  if (!spki.equals(spkiOf(rsaEncryption, writeDer(derTag.null), numbers))) return unusualRsa;
  const weakness = rsaWeakness(modulus);
  if (weakness !== undefined) return `the RSA key of the CSR can be factored: ${weakness}; make another one`;
  return createPublicKey({ key: { kty: 'RSA', n: n.toString('base64url'), e: 'AQAB' }, format: 'jwk' });
}

/** Its bytes as a number without a sign; a key whose number has one is in no encoding that is taken. */
function numberIn(element: DerElement): bigint {
  return BigInt(`0x0${contentOf(element, derTag.integer).toString('hex')}`);
}

function evenHex(value: bigint): string {
  const hex = value.toString(16);
  return hex.length % 2 === 0 ? hex : `0${hex}`;
}

function integerOf(bytes: Buffer): Buffer {
  const sign = (bytes[0] ?? 0) < 0x80 ? [] : [Buffer.from([0])];
  return writeDer(derTag.integer, ...sign, bytes);
}

function spkiOf(algorithm: string, parameters: Buffer, key: Buffer): Buffer {
  const identifier = writeDer(derTag.sequence, writeDer(derTag.oid, Buffer.from(algorithm, 'hex')), parameters);
  return writeDer(derTag.sequence, identifier, writeDer(derTag.bitString, Buffer.from([0]), key));
}

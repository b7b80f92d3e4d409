import { createECDH, createPrivateKey, type JsonWebKey, type KeyObject, webcrypto } from 'node:crypto';

const curve = { crv: 'P-256', name: 'prime256v1', bytes: 32 };
const ecdsa = { name: 'ECDSA', namedCurve: curve.crv };

/** SubjectPublicKeyInfo of a point on P-256 (RFC 5480 §2): the uncompressed point follows */
const spkiPrefix = Buffer.from('3059301306072a8648ce3d020106082a8648ce3d030107034200', 'hex');

export type P256Pair = {
  readonly privateKey: KeyObject;
  /** PKCS #8 */
  readonly privateKeyPem: string;
  /** DER */
  readonly spki: Buffer;
};

/**
 * A new P-256 key pair.
 *
 * It is made from its numbers, and not by `generateKey`: in Node 20 the job that made a key pair shares the pair's lock, and is
 * destroyed by the garbage collector, which may run while an export holds that lock. The process then waits for itself for ever.
 */
export function newP256Pair(): P256Pair {
  const { jwk, point } = newJwk();
  const privateKey = createPrivateKey({ key: jwk, format: 'jwk' });
  return {
    privateKey,
    privateKeyPem: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
    spki: Buffer.concat([spkiPrefix, point]),
  };
}

/** A new pair as PEM (PKCS #8), and as WebCrypto has it, for the library that signs certificates. */
export async function newP256Key(): Promise<{
  readonly privateKeyPem: string;
  readonly keys: webcrypto.CryptoKeyPair;
}> {
  const { jwk } = newJwk();
  const { d: _private, ...open } = jwk;
  return {
    privateKeyPem: createPrivateKey({ key: jwk, format: 'jwk' }).export({ format: 'pem', type: 'pkcs8' }).toString(),
    keys: {
      privateKey: await webcrypto.subtle.importKey('jwk', jwk, ecdsa, false, ['sign']),
      publicKey: await webcrypto.subtle.importKey('jwk', open, ecdsa, true, ['verify']),
    },
  };
}

function newJwk(): { readonly jwk: JsonWebKey; readonly point: Buffer } {
  const ecdh = createECDH(curve.name);
  const point = ecdh.generateKeys();
  const d = Buffer.alloc(curve.bytes);
  const secret = ecdh.getPrivateKey();
  secret.copy(d, curve.bytes - secret.length);
  // uncompressed: 0x04, x, y (SEC 1, §2.3.3)
  const [x, y] = [point.subarray(1, 1 + curve.bytes), point.subarray(1 + curve.bytes)];
  const open = { kty: 'EC', crv: curve.crv, x: x.toString('base64url'), y: y.toString('base64url') };
  const jwk = { ...open, d: d.toString('base64url') };
  for (const each of [secret, d]) each.fill(0);
  return { jwk, point };
}

import { createPrivateKey, generateKeyPairSync, randomBytes, webcrypto } from 'node:crypto';
import { X509CertificateGenerator } from '../../runtime/x509.ts';

const [day, modulusLength] = [86_400_000, 3072];
const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };

/**
 * A chain of certificates whose signatures cost as much as they can to check: OpenSSL takes public exponents of any length up to a modulus of
 * 3072 bits. All have the same key, since only names make a chain. @returns PEM, the client's own first
 */
export async function costlyChain(certificates: number): Promise<{ readonly key: string; readonly cert: string }> {
  const key = costlyKey();
  const pkcs8 = key.export({ format: 'der', type: 'pkcs8' });
  const privateKey = await webcrypto.subtle.importKey('pkcs8', pkcs8, rsa, true, ['sign']);
  const { e = '', n = '' } = key.export({ format: 'jwk' });
  const publicKey = await webcrypto.subtle.importKey('jwk', { kty: 'RSA', n, e }, rsa, true, ['verify']);
  const chain: string[] = [];
  for (let place = 0; place < certificates; place++) {
    const certificate = await X509CertificateGenerator.create({
      serialNumber: `40${randomBytes(8).toString('hex')}`,
      subject: `CN=${place}`,
      issuer: `CN=${place + 1}`,
      notBefore: new Date(Date.now() - day),
      notAfter: new Date(Date.now() + day),
      publicKey,
      signingKey: privateKey,
      signingAlgorithm: rsa,
    });
    chain.push(certificate.toString('pem'));
  }
  return { key: key.export({ format: 'pem', type: 'pkcs8' }) as string, cert: chain.join('\n') };
}

/** Of an ordinary key pair, with another pair of exponents. */
function costlyKey() {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength });
  const jwk = privateKey.export({ format: 'jwk' });
  const number = (text = '') => BigInt(`0x${Buffer.from(text, 'base64url').toString('hex')}`);
  const text = (value: bigint) => {
    const hex = value.toString(16);
    return Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex').toString('base64url');
  };
  const [p1, q1] = [number(jwk.p) - 1n, number(jwk.q) - 1n];
  for (;;) {
    const d = BigInt(`0x${randomBytes(modulusLength / 8 - 1).toString('hex')}`) | 1n;
    const e = inverse(d, p1 * q1);
    if (e === undefined) continue;
    const exponents = { e: text(e), d: text(d % (p1 * q1)), dp: text(d % p1), dq: text(d % q1) };
    return createPrivateKey({ format: 'jwk', key: { ...jwk, ...exponents } });
  }
}

/** @returns undefined where there is none */
function inverse(of: bigint, modulus: bigint): bigint | undefined {
  let [r, next, x, nextX] = [modulus, of % modulus, 0n, 1n];
  while (next !== 0n) {
    const times = r / next;
    [r, next, x, nextX] = [next, r - times * next, nextX, x - times * nextX];
  }
  return r === 1n ? ((x % modulus) + modulus) % modulus : undefined;
}

import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

/**
 * A new RSA-2048 private key (PEM, PKCS #8). A thread makes it, in 50 to 500 ms of CPU.
 *
 * The job that makes the pair writes the PEM itself: nothing exports the pair afterwards, which in Node 20 could wait for the
 * garbage collector for ever (see `p256.ts`).
 */
export async function newRsaKey(): Promise<string> {
  const { privateKey } = await generate('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs8', format: 'pem' },
  });
  return privateKey;
}

import { createHash, createPrivateKey, createPublicKey, type KeyObject, sign } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isThere } from '../runtime/is-there.ts';
import { earliest, isPlausible } from '../runtime/plausible-time.ts';
import { withFolderLock, writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';
import { newKey } from './key-type.ts';
import { chainsOf, type TlsMaterial, tlsFolderIn } from './material.ts';

/**
 * The key that signs the time for devices whose clock is unset (P-256: whatever verifies the site CA's signatures verifies its). It signs
 * nothing else. It is neither the CA's, which no stranger should be able to make sign, nor the server's, which TLS 1.2 lets sign bytes that
 * begin with 32 of the client's choice (RFC 8422 §5.4). No certificate is over it, since devices could not judge its dates: they pin the key.
 */
export type TimeKey = {
  /** SubjectPublicKeyInfo */
  readonly publicKeyPem: string;
  /** @returns ECDSA with SHA-256, as DER */
  sign(bytes: Buffer): Buffer;
};

const filesIn = (dataDir: string) => {
  const named = (ending: string) => join(tlsFolderIn(dataDir), `time.${ending}`);
  return { keyFile: named('key'), publicFile: named('pub') };
};

/**
 * Loads the time key; the first start makes it. Brokers that share the folder have the same.
 * @throws with the cure when it is missing although its public half is there: devices have pinned that one
 */
export async function loadTimeKey(dataDir: string): Promise<TimeKey> {
  const { keyFile, publicFile } = filesIn(dataDir);
  const restore = `restore ${keyFile} from a backup, or remove ${publicFile} to make a new key (devices must then be given the new one)`;
  return withFolderLock(tlsFolderIn(dataDir), async () => {
    if (!isThere(keyFile)) {
      if (isThere(publicFile)) throw new Error(`${publicFile} exists and ${keyFile} is missing; ${restore}`);
      writeFileAtomic(keyFile, await newKey('ec'), 0o600);
    }
    const key = createPrivateKey(readKey(keyFile));
    if (key.asymmetricKeyDetails?.namedCurve !== 'prime256v1')
      throw new Error(`${keyFile} is no P-256 key; ${restore}`);
    const publicKeyPem = createPublicKey(key).export({ format: 'pem', type: 'spki' }).toString();
    // after the key: a start that was killed in between is completed here
    if (!isThere(publicFile)) writeFileAtomic(publicFile, publicKeyPem, 0o600);
    if (readFileSync(publicFile, 'utf8').trim() !== publicKeyPem.trim())
      throw new Error(`${publicFile} is not the public half of ${keyFile}; ${restore}`);
    return { publicKeyPem, sign: (bytes) => sign('sha256', bytes, key) };
  });
}

/** The public half (PEM). @throws when there is none yet */
export function readTimePublicKey(dataDir: string): string {
  const { publicFile } = filesIn(dataDir);
  if (isThere(publicFile)) return readFileSync(publicFile, 'utf8');
  throw new Error(
    `there is no ${publicFile} yet; the broker makes it at its first start. In compose it is in the broker's container: docker compose exec broker cvm tls time-key`,
  );
}

/** Its point, uncompressed (SEC 1 §2.3.3): 0x04, x, y. 65 bytes, as mbedTLS, PSA and most others take it. */
export function pointOf(publicKeyPem: string): Buffer {
  const { x = '', y = '' } = keyOf(publicKeyPem).export({ format: 'jwk' });
  return Buffer.concat([Buffer.from([4]), Buffer.from(x, 'base64url'), Buffer.from(y, 'base64url')]);
}

/** `sha256//` and base64 of the SHA-256 of its SPKI, as the pin of the server's key. Undefined before the first start. */
export function timeKeyPin(dataDir: string): string | undefined {
  const { publicFile } = filesIn(dataDir);
  if (!isThere(publicFile)) return undefined;
  const spki = keyOf(readFileSync(publicFile, 'utf8')).export({ format: 'der', type: 'spki' });
  return `sha256//${createHash('sha256').update(spki).digest('base64')}`;
}

const keyOf = (pem: string): KeyObject => createPublicKey(pem);

/**
 * Why a clock that shows this time must be wrong: the time is before this version was made, or outside the validity of the broker's own
 * certificate. Undefined when the clock may be right: an error of less is not noticed here.
 * @param now epoch milliseconds
 */
export function whyClockDoubted(served: TlsMaterial, now: number): string | undefined {
  if (!isPlausible(now))
    return `it is earlier than ${new Date(earliest.time).toISOString()}, when this version was made`;
  for (const { notBefore, notAfter } of chainsOf(served)) {
    if (now < notBefore.getTime()) return `the server certificate begins at ${notBefore.toISOString()} only`;
    if (now > notAfter.getTime()) return `the server certificate ended at ${notAfter.toISOString()}`;
  }
  return undefined;
}

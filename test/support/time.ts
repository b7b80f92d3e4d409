import { createPrivateKey, createPublicKey, randomBytes, sign, verify } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { TimeSigner } from '../../broker/time-answers.ts';
import { signedTimeBytes } from '../../protocol/time.ts';

/** The messages and the test vector of docs/protocol.md, "Time". The key is that of RFC 6979, A.2.5, and the signature as made there. */
export const goldenTime = JSON.parse(readFileSync(join(import.meta.dirname, '../golden/time.json'), 'utf8')) as {
  readonly privateKey: string;
  readonly publicKey: string;
  readonly publicKeyPem: string;
  readonly nonce: string;
  readonly time: number;
  readonly signed: string;
  readonly sha256: string;
  readonly signature: string;
  readonly json: string;
  readonly cbor: string;
};

const point = Buffer.from(goldenTime.publicKey, 'hex');
const key = createPrivateKey({
  format: 'jwk',
  key: {
    kty: 'EC',
    crv: 'P-256',
    d: Buffer.from(goldenTime.privateKey, 'hex').toString('base64url'),
    x: point.subarray(1, 33).toString('base64url'),
    y: point.subarray(33).toString('base64url'),
  },
});

/** Signs with the key of the test vector, whatever the clock shows. */
export const goldenSigner: TimeSigner = { sign: (bytes) => sign('sha256', bytes, key), whyDoubted: () => undefined };

/** What a device does with an answer. @param publicKeyPem that it has pinned */
export function isTimeOf(nonce: string, time: number, signature: Buffer, publicKeyPem: string): boolean {
  return verify('sha256', signedTimeBytes(nonce, time), createPublicKey(publicKeyPem), signature);
}

export const newNonce = () => randomBytes(16).toString('hex');

/** What a device gets that asks for the time, in JSON. */
export type TimeAnswer = { status: string; time: number; sig: string };

/** The key that devices pin, in PEM. */
export const pinnedTimeKey = (dataDir: string) => readFileSync(join(dataDir, 'tls', 'time.pub'), 'utf8');

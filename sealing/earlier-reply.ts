import { createPrivateKey, X509Certificate } from 'node:crypto';
import { z } from 'zod';
import type { Credentials } from '../protocol/answer.ts';

/**
 * Version 0.1.0 kept the reply with a certificate in Redis, sealed to the device's token as today's replies are, but without a signature. So an
 * attacker who writes Redis can put a reply of his own there. The broker therefore takes one thing alone out of it, which exists nowhere else: the
 * private key, and only if it fits the certificate that the worker names. An attacker does not have that key, so no reply of his has it. All else comes from the table and from AWS.
 */
export type WithEarlierKey = {
  /** without a private key */
  readonly credentials: Credentials;
  /** the reply that 0.1.0 kept */
  readonly kept: string;
};

/** Open what was sealed to the device, each for its use. They throw where that does not open. */
export type Openers = { answer(sealed: string): string; privateKey(sealed: string): string };

/** As 0.1.0 wrote it: a key that AWS made is in clear inside, one that the worker made is sealed once more. */
const keptAnswer = z.object({
  accepted: z.object({ privateKeyPem: z.string().optional() }),
  sealedKey: z.string().optional(),
});

/** Undefined where the reply does not open, or has another key than that of the certificate. */
export function earlierPrivateKey({ credentials, kept }: WithEarlierKey, open: Openers): string | undefined {
  try {
    const { accepted, sealedKey } = keptAnswer.parse(JSON.parse(open.answer(kept)));
    const pem = sealedKey === undefined ? accepted.privateKeyPem : open.privateKey(sealedKey);
    const certificate = new X509Certificate(credentials.certificatePem);
    return pem !== undefined && certificate.checkPrivateKey(createPrivateKey(pem)) ? pem : undefined;
  } catch {
    return undefined;
  }
}

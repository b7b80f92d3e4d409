import { hkdfSync } from 'node:crypto';
import type { Answer } from '../protocol/reply.ts';
import { deriveKeyPair, type KeyPair, open, seal } from './hpke.ts';

/**
 * Answers wait in Redis sealed to a key pair that only the device's token yields: nobody has to keep a secret. The
 * broker derives the pair when the device presents its token, the question carries the public half, and whichever broker
 * the device talks to later opens the answer with the private half. So the token is proven by opening: a connection
 * that presented a wrong one holds a key that opens nothing.
 */
export type ReplyKeys = { /** X25519, base64url */ readonly publicKey: string; readonly pair: KeyPair };

const info = Buffer.from('cvm-gateway reply v1');
const keyInfo = 'cvm-gateway reply key v1';

/** The key pair of a token; the serial is the salt, so that one token at two devices still means two pairs. */
export function deriveReplyKeys(serial: string, token: string): ReplyKeys {
  const pair = deriveKeyPair(Buffer.from(hkdfSync('sha256', token, serial, keyInfo, 32)));
  return { publicKey: pair.publicKey.toString('base64url'), pair };
}

/** Seals an answer to the holder of a token. The box is bound in: a sealed answer cannot be passed off as another's. */
export function sealAnswer(publicKey: string, box: string, answer: Answer): string {
  return seal(
    Buffer.from(publicKey, 'base64url'),
    info,
    Buffer.from(box),
    Buffer.from(JSON.stringify(answer)),
  ).toString('base64url');
}

/** The answer, or undefined when it was not sealed to these keys and this box. */
export function openAnswer(keys: ReplyKeys, box: string, sealed: string): Answer | undefined {
  try {
    return JSON.parse(
      open(keys.pair, info, Buffer.from(box), Buffer.from(sealed, 'base64url')).toString('utf8'),
    ) as Answer;
  } catch {
    return undefined;
  }
}

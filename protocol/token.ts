import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Random bytes in a token that the gateway makes: 160 bits, 27 characters. */
const tokenBytes = 20;

/** 128 bits need 22 characters even of base64url; anything shorter can be guessed. */
const minTokenLength = 22;
const maxTokenLength = 512;

/** A new one-time registration token. It is shown once and stored nowhere. */
export function makeToken(random: (size: number) => Buffer = randomBytes): string {
  return random(tokenBytes).toString('base64url');
}

/** Why a token that was made elsewhere is not accepted; undefined when it is. Never quotes the token. */
export function tokenFault(token: string): string | undefined {
  if (!/^[\x21-\x7e]*$/.test(token)) return 'the token has characters other than printable ASCII without spaces';
  if (token.length < minTokenLength)
    return `the token has ${token.length} characters; at least ${minTokenLength} (128 random bits) are needed`;
  if (token.length > maxTokenLength)
    return `the token has ${token.length} characters; at most ${maxTokenLength} are taken`;
  if (new Set(token).size < 6) return 'the token is not random: it repeats a few characters';
  return undefined;
}

/** `sha256:<hex>`, the only form in which a token is stored. A plain hash is enough: a token has at least 128 random bits. */
export function hashToken(token: string): string {
  return `sha256:${createHash('sha256').update(token, 'utf8').digest('hex')}`;
}

/** Compares two token hashes in constant time. */
export function sameHash(a: string, b: string): boolean {
  const [left, right] = [Buffer.from(a), Buffer.from(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}

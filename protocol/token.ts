import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Random bytes in a token that the gateway makes: 160 bits, 27 characters. */
const tokenBytes = 20;

/** A new one-time registration token. It is shown once and stored nowhere. */
export function makeToken(random: (size: number) => Buffer = randomBytes): string {
  return random(tokenBytes).toString('base64url');
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

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Random bytes in a token that the gateway makes: 160 bits, 27 characters. */
const tokenBytes = 20;

/**
 * A new one-time registration token. It is shown once and stored nowhere. None begins with "-": command lines take such a one for an
 * option, and a spreadsheet that opens the file of tokens for a formula.
 */
export function makeToken(random: (size: number) => Buffer = randomBytes): string {
  for (;;) {
    const token = random(tokenBytes).toString('base64url');
    if (!token.startsWith('-')) return token;
  }
}

const maxTokenLength = 512;

/** @returns why this text can be the token of no device; undefined when it can be one. It never quotes the text, and helps no attacker to guess a token. */
export function malformedToken(token: string): string | undefined {
  const at = token.search(/[^\x21-\x7e]/);
  if (at >= 0)
    return `the token has ${characterAt(token, at)} at position ${at + 1}: only printable ASCII without spaces is taken`;
  if (/^(["']).*\1$/.test(token)) return 'the token is in quotes, which are not part of it: leave them out';
  if (token === '') return 'the token is empty';
  if (token.length > maxTokenLength)
    return `the token has ${token.length} characters; at most ${maxTokenLength} are taken`;
  return undefined;
}

function characterAt(token: string, at: number): string {
  const code = token.charCodeAt(at);
  if (code === 0x20) return 'a space';
  return code < 0x20 || (code >= 0x7f && code < 0xa0) ? 'a control character' : 'a character other than ASCII';
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

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { bitsNeeded, descriptionBits, tokenFault } from '../../operator/token-strength.ts';
import { makeToken } from '../../protocol/token.ts';

/** Bytes that look random, and are the same in each run. */
const bytes = (seed: string, size: number) => createHash('sha512').update(seed).digest().subarray(0, size);
const from = (alphabet: string, length: number) => (seed: string) =>
  [...bytes(seed, length)].map((byte) => alphabet[byte % alphabet.length]).join('');
const digits = '0123456789';

/** The rate at which `makeToken`'s tokens of 27 characters and 160 bits are refused is below this, by Kraft's inequality. */
function boundOfFalseRefusals(): number {
  const alphabets = 2 + 2 ** 5;
  // a character bears no mark in the count; in a complete code its mark would take this share
  const marks = (1 - 2 / 2 ** 6) ** -27;
  return alphabets * marks * 2 ** (bitsNeeded(27) - 160);
}

describe('the strength of a token', () => {
  it('lets all tokens pass that we make, but for fewer than one in 10^9', () => {
    expect(boundOfFalseRefusals()).toBeLessThan(1e-9);
    fc.assert(
      fc.property(fc.nat(), fc.string(), (seed, serial) => {
        const [token, before] = ['', '-'].map((salt) => {
          let draws = 0;
          return makeToken((size) => bytes(`${salt}${seed}/${draws++}`, size));
        });
        expect(tokenFault(token ?? '', { serial, before })).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['32 hex digits', (seed: string) => bytes(seed, 16).toString('hex')],
    ['32 hex digits in upper case', (seed: string) => bytes(seed, 16).toString('hex').toUpperCase()],
    ['32 hex digits in pairs', (seed: string) => (bytes(seed, 16).toString('hex').match(/../g) ?? []).join(':')],
    ['22 characters of base64url', (seed: string) => bytes(seed, 16).toString('base64url')],
    ['24 characters of base64', (seed: string) => bytes(seed, 16).toString('base64')],
    ['26 characters of base32', from('ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', 26)],
    ['39 digits', from(digits, 39)],
    ['a prefix and 22 characters', (seed: string) => `acme_live_${bytes(seed, 16).toString('base64url')}`],
  ])('lets random tokens pass: %s', (_what, make) => {
    const seeds = Array.from({ length: 1000 }, (_, index) => `${index}`);
    const refused = seeds.filter((seed) => tokenFault(make(seed), { serial: `SN-${seed}`, before: make(`-${seed}`) }));
    expect(refused).toEqual([]);
  });

  it.each([
    ['22 digits', from(digits, 22)('a'), 'too few kinds of characters'],
    ['38 digits', from(digits, 38)('a'), 'too few kinds of characters'],
    ['28 hex digits', bytes('a', 14).toString('hex'), 'too few kinds of characters'],
    ['ten bytes of hex in pairs', (bytes('a', 10).toString('hex').match(/../g) ?? []).join(':'), 'too few kinds'],
    ['a short text', 'short', '5 characters; at least 22'],
    ['a text too long', 'x'.repeat(513), '513 characters; at most 512'],
    ['a space', 'abcdefghijkl mnopqrstuvw', 'position 13'],
    ['an umlaut', 'umlaut-ä-in-the-middle-of-it', 'position 8'],
    ['one character', '0'.repeat(40), 'repeats itself'],
    ['a short text again and again', 'xK7#'.repeat(10), 'repeats itself'],
    ['a text twice', from(`${digits}abcdef`, 16)('a').repeat(2), 'repeats itself'],
    ['the alphabet', 'abcdefghijklmnopqrstuvwxyz0123456789', 'sequences or usual words'],
    ['a keyboard', 'qwertyuiopasdfghjklzxcvbnm', 'sequences or usual words'],
    ['a placeholder', 'CHANGE-ME-your-secret-token-here', 'sequences or usual words'],
    ['words', 'correct-horse-battery-staple', 'sequences or usual words'],
    ['the token of our README', /"token":"([^"…]+)"/.exec(readFileSync('README.md', 'utf8'))?.[1] ?? '', 'usual words'],
    ['a UUID', '6f1ed002-ab55-4c5b-9d2a-1d6f0a4c7d11', 'UUID'],
  ])('refuses %s', (_what, token, reason) => {
    expect(tokenFault(token)).toContain(reason);
    expect(tokenFault(token)).not.toContain(token);
  });

  it.each([
    ['as it is', 'AA:BB:CC:00:11:22-xK7q-AA:BB:CC:00:11:22'],
    ['without its separators', 'aabbcc001122-Zp4-aabbcc001122Xv'],
    ['hashed', createHash('md5').update('AA:BB:CC:00:11:22').digest('hex')],
    ['hashed and cut', createHash('sha256').update('AA:BB:CC:00:11:22').digest('base64url').slice(0, 30)],
  ])('refuses a token with the serial of its device in it, %s', (_what, token) => {
    expect(tokenFault(token, { serial: 'AA:BB:CC:00:11:22' })).toMatch(/serial/);
  });

  it('refuses a token that counts on from the one before', () => {
    const token = (number: number) => `${bytes('batch', 16).toString('base64url')}-00${number}`;
    expect(tokenFault(token(41))).toBeUndefined();
    expect(tokenFault(token(42), { before: token(41) })).toContain('the line before');
  });

  it('counts a text that cannot be described in fewer bits as characters of its alphabet', () => {
    expect(descriptionBits('5029', [])).toBeCloseTo(4 * Math.log2(10));
    expect(descriptionBits('x9Kq', [])).toBeCloseTo(4 * Math.log2(62));
  });
});

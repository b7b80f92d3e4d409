import { describe, expect, it } from 'vitest';
import { isSerial } from '../../protocol/serial.ts';
import { hashToken, makeToken, sameHash, tokenFault } from '../../protocol/token.ts';

describe('a token', () => {
  it('that we make has at least 128 random bits, and is never the same', () => {
    const tokens = Array.from({ length: 1000 }, () => makeToken());
    expect(new Set(tokens).size).toBe(1000);
    expect(Math.min(...tokens.map((token) => Buffer.from(token, 'base64url').length * 8))).toBeGreaterThanOrEqual(128);
    expect(tokens.map(tokenFault).filter((fault) => fault !== undefined)).toEqual([]);
  });

  it.each([
    'short',
    'x'.repeat(21),
    'with a space in the middle of it',
    'umlaut-ä-in-the-middle-of-it',
    'a'.repeat(40),
    'x'.repeat(513),
  ])('that is weak is refused without being quoted: %s', (token) => {
    expect(tokenFault(token)).toBeDefined();
    expect(tokenFault(token)).not.toContain(token);
  });

  it.each([
    ['abcdefghijklmnopqrstu', /21 characters; at least 22/],
    [`${'abcdef'.repeat(85)}abc`, /513 characters; at most 512/],
    ['abcdefghijkl mnopqrstuvw', /printable ASCII/],
    ['ababababababababababcde', /not random/],
  ])('that is weak is refused for a reason: %s', (token, reason) => {
    expect(tokenFault(token)).toMatch(reason);
  });

  it.each([
    'abcdefghijklmnopqrstuv',
    `${'abcdef'.repeat(85)}ab`,
    'abcdefabcdefabcdefabcdef',
    '!~!~abcdefghijklmnopqrst',
  ])('may be %s', (token) => {
    expect(tokenFault(token)).toBeUndefined();
  });

  it('is kept as its SHA-256', () => {
    expect(hashToken('abc')).toBe('sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
    expect(sameHash(hashToken('a'), hashToken('a'))).toBe(true);
    expect(sameHash(hashToken('a'), hashToken('b'))).toBe(false);
    expect(sameHash('short', hashToken('b'))).toBe(false);
  });
});

describe('a serial', () => {
  it.each(['AA:BB:CC:00:11:22', 'a', 'x'.repeat(128), '-_:'])('may be %s', (serial) =>
    expect(isSerial(serial)).toBe(true),
  );
  it.each(['', 'x'.repeat(129), 'a b', 'a/b', 'a.b', '+', '#', '$a', 'ä', 'a\n', 'a\0'])('may not be %j', (serial) =>
    expect(isSerial(serial)).toBe(false),
  );
});

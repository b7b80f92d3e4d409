import { describe, expect, it } from 'vitest';
import { isSerial } from '../../protocol/serial.ts';
import { hashToken, makeToken, sameHash } from '../../protocol/token.ts';

describe('a token', () => {
  it('that we make has at least 128 random bits, and is never the same', () => {
    const tokens = Array.from({ length: 1000 }, () => makeToken());
    expect(new Set(tokens).size).toBe(1000);
    expect(Math.min(...tokens.map((token) => Buffer.from(token, 'base64url').length * 8))).toBeGreaterThanOrEqual(128);
  });

  it('that we make never begins with "-", which command lines and spreadsheets take for something else', () => {
    const made = [Buffer.alloc(20, 0xf8), Buffer.alloc(20, 7)];
    expect(makeToken(() => made.shift() ?? Buffer.alloc(0))).toBe(Buffer.alloc(20, 7).toString('base64url'));
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

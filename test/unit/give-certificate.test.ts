import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fits } from '../../worker/give-certificate.ts';

describe('the pattern of serials of a claim certificate', () => {
  it.each([
    ['P-*', 'P-1', true],
    ['P-*', 'P-', true],
    ['P-*', 'xP-1', false],
    ['P-??', 'P-12', true],
    ['P-??', 'P-1', false],
    ['*-9', 'P-9-9', true],
    ['*a*b', 'xaxxb', true],
    ['*a*b', 'xaxxbc', false],
    ['P-1', 'P-12', false],
    ['P.1', 'Px1', false],
  ])('%s for %s: %s', (pattern, serial, expected) => {
    expect(fits(serial, pattern)).toBe(expected);
  });

  it('is the same as the regular expression that says it', () => {
    const text = (characters: string) => fc.string({ unit: fc.constantFrom(...characters), maxLength: 12 });
    fc.assert(
      fc.property(text('ab*?'), text('ab'), (pattern, serial) => {
        const same = new RegExp(`^${pattern.replace(/\*/g, '.*').replace(/\?/g, '.')}$`);
        expect(fits(serial, pattern)).toBe(same.test(serial));
      }),
    );
  });
});

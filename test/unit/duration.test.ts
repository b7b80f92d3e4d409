import { describe, expect, it } from 'vitest';
import { durationMs, lifetimeMs } from '../../cli/duration.ts';

describe('a duration on the command line', () => {
  it.each([
    ['90s', 90_000],
    ['30m', 1_800_000],
    ['12h', 43_200_000],
    ['36500d', 3_153_600_000_000],
  ])('is a number and a unit: %s', (text, ms) => expect([durationMs(text), lifetimeMs(text)]).toEqual([ms, ms]));

  it.each(['', '5', 'h', '1.5h', '-1h', '1w', '36501d', '99999999999d'])('is refused otherwise: %j', (text) =>
    expect(() => durationMs(text)).toThrow(),
  );

  it('may be 0, but not as a lifetime', () => {
    expect(durationMs('0s')).toBe(0);
    expect(() => lifetimeMs('0h')).toThrow('longer than 0');
  });
});

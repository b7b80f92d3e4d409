import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { earliest, isPlausible } from '../../runtime/plausible-time.ts';

it('a clock that is right is taken for right', () => {
  expect(isPlausible(Date.now())).toBe(true);
});

it('a clock that shows 1970, or the day of an old image, is taken for wrong', () => {
  for (const time of [0, Date.UTC(2019, 5, 1), earliest.time - 1]) expect(isPlausible(time)).toBe(false);
});

it('the day before which no clock is right is chosen anew with each version', () => {
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  expect(earliest.version).toBe(version);
});

import { expect, it } from 'vitest';
import { remembered } from '../../runtime/remembered.ts';

it('a remembered value is read once for callers at once, again when it is old, and again after an error', async () => {
  let [now, reads, away] = [0, 0, false];
  const read = remembered(
    async () => {
      reads++;
      if (away) throw new Error('away');
      return reads;
    },
    10,
    () => now,
  );
  expect(await Promise.all([read(), read()])).toEqual([1, 1]);
  now = 9;
  expect(await read()).toBe(1);
  now = 10;
  away = true;
  await expect(read()).rejects.toThrow('away');
  away = false;
  expect(await read()).toBe(3);
});

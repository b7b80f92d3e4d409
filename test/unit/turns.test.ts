import { expect, it } from 'vitest';
import { createTurns } from '../../queue/turns.ts';

const taken = (inMs: number) => ({ outcome: 'taken', inMs });

it('turns come in order, a second of them at once, and those that are far away are refused and not taken', () => {
  let now = 5000;
  const turns = createTurns(4, 500, () => now);
  expect(Array.from({ length: 4 }, () => turns.take('a'))).toEqual(Array(4).fill(taken(0)));
  expect([turns.take('a'), turns.take('a'), turns.take('a')]).toEqual([
    taken(250),
    taken(500),
    { outcome: 'refused', inMs: 750 },
  ]);
  now += 500;
  expect([turns.take('a'), turns.take('a'), turns.take('a')]).toEqual([
    taken(250),
    taken(500),
    { outcome: 'refused', inMs: 750 },
  ]);
  // after a quiet time, no more than a second of them at once
  now += 60_000;
  expect(Array.from({ length: 5 }, () => turns.take('a'))).toEqual([...Array(4).fill(taken(0)), taken(250)]);
});

it('one address that takes all turns it can get leaves a fifth of the line to others, and a second one a fifth of that', () => {
  let now = 0;
  const turns = createTurns(100, 3000, () => now);
  const flood = (address: string) => {
    let count = 0;
    while (turns.take(address).outcome === 'taken') count++;
    return count;
  };
  // a second of them at once, and four fifths of three seconds
  expect(flood('192.0.2.1')).toBe(100 + 240);
  expect(turns.take('192.0.2.9')).toMatchObject({ outcome: 'taken' });
  flood('192.0.2.2');
  expect(turns.take('192.0.2.9')).toMatchObject({ outcome: 'taken' });
  // nothing is left of turns that have come
  now += 60_000;
  expect(flood('192.0.2.1')).toBe(100 + 240);
});

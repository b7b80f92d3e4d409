import { expect, it } from 'vitest';
import { createTurns } from '../../queue/turns.ts';

const taken = (inMs: number) => ({ outcome: 'taken', inMs });

it('turns come in order, a second of them at once, and those that are far away are refused and not taken', () => {
  let now = 5000;
  const turns = createTurns(4, 500, () => now);
  expect(Array.from({ length: 4 }, turns.take)).toEqual(Array(4).fill(taken(0)));
  expect([turns.take(), turns.take(), turns.take()]).toEqual([
    taken(250),
    taken(500),
    { outcome: 'refused', inMs: 750 },
  ]);
  now += 500;
  expect([turns.take(), turns.take(), turns.take()]).toEqual([
    taken(250),
    taken(500),
    { outcome: 'refused', inMs: 750 },
  ]);
  // after a quiet time, no more than a second of them at once
  now += 60_000;
  expect(Array.from({ length: 5 }, turns.take)).toEqual([...Array(4).fill(taken(0)), taken(250)]);
});

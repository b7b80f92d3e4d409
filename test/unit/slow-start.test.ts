import { describe, expect, it } from 'vitest';
import { createSlowStart } from '../../aws/slow-start.ts';

let now = 0;
const begin = () => createSlowStart(() => now);

/** How many come in at once. */
async function entering({ enter }: ReturnType<typeof begin>, wanted = 20): Promise<number> {
  let entered = 0;
  const patience = new AbortController();
  void (async () => {
    while (entered < wanted && (await enter(patience.signal))) entered++;
  })();
  await new Promise((resolve) => setImmediate(resolve));
  patience.abort();
  await new Promise((resolve) => setImmediate(resolve));
  return entered;
}

describe('the room for requests under way', () => {
  it('is small until AWS has answered, and grows with each answer', async () => {
    const start = begin();
    expect(await entering(start)).toBe(4);
    for (let calls = 0; calls < 21; calls++) start.answered();
    expect(await entering(start)).toBe(8);
  });

  it('is not lost when a request ends without a call', async () => {
    const start = begin();
    expect(await entering(start)).toBe(4);
    for (let ended = 0; ended < 3; ended++) start.leave();
    expect(await entering(start)).toBe(3);
  });

  it('is given to a request that waits as soon as there is some', async () => {
    const start = begin();
    await entering(start);
    const fifth = start.enter();
    start.leave();
    expect(await fifth).toBe(true);
  });

  it('falls to half of those under way when AWS throttles, and not below what it was at first', async () => {
    const start = begin();
    for (let calls = 0; calls < 60; calls++) start.answered();
    expect(await entering(start)).toBe(20);
    start.throttled();
    for (let ended = 0; ended < 11; ended++) start.leave();
    expect(await entering(start)).toBe(1);
    for (const _ of [1, 2, 3]) start.throttled();
    for (let ended = 0; ended < 10; ended++) start.leave();
    expect(await entering(start)).toBe(4);
  });

  it('is small again after a rest, and not while requests follow each other', async () => {
    const start = begin();
    await entering(start);
    for (let calls = 0; calls < 34; calls++) start.answered();
    for (let ended = 0; ended < 4; ended++) start.leave();
    now += 19_000;
    expect(await entering(start)).toBe(16);
    for (let ended = 0; ended < 16; ended++) start.leave();
    now += 20_000;
    expect(await entering(start)).toBe(4);
  });
});

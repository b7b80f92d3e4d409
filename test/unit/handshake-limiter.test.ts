import { expect, it } from 'vitest';
import { createHandshakeLimiter } from '../../broker/listener/handshake-limiter.ts';

const limitsOf = (maxHandshakes: number) => ({ maxHandshakes, startsPerTurn: 10, turnCpuMs: 25 });

it('runs a limited number of handshakes at a time, and starts the next when one gives its turn back, once', () => {
  const limiter = createHandshakeLimiter(limitsOf(2));
  const started: string[] = [];
  const release = ['a', 'b', 'c', 'd'].map((name) => limiter.acquire('x', () => started.push(name)));
  expect(started).toEqual(['a', 'b']);
  release[0]?.();
  release[0]?.();
  expect(started).toEqual(['a', 'b', 'c']);
  release[1]?.();
  expect(started).toEqual(['a', 'b', 'c', 'd']);
});

it('serves the addresses in turn, however long their lines are', () => {
  const limiter = createHandshakeLimiter(limitsOf(1));
  const started: string[] = [];
  const first = limiter.acquire('flood', () => started.push('first'));
  const flood = Array.from({ length: 100 }, (_, index) =>
    limiter.acquire('flood', () => started.push(`flood ${index}`)),
  );
  const honest = limiter.acquire('honest', () => started.push('honest'));
  first();
  flood[0]?.();
  expect(started).toEqual(['first', 'flood 0', 'honest']);
  honest();
  expect(started.at(-1)).toBe('flood 1');
});

it('forgets a connection that gives up while it waits', () => {
  const limiter = createHandshakeLimiter(limitsOf(1));
  const started: string[] = [];
  const release = limiter.acquire('x', () => started.push('running'));
  limiter.acquire('y', () => started.push('gave up'))();
  limiter.acquire('z', () => started.push('next'));
  expect(limiter.waiting()).toBe(1);
  release();
  expect(started).toEqual(['running', 'next']);
  expect(limiter.waiting()).toBe(0);
});

it('begins few handshakes in one turn of the event loop, however many wait, and the next in the turns that follow', () => {
  const turns: (() => void)[] = [];
  const limiter = createHandshakeLimiter(
    { maxHandshakes: 100, startsPerTurn: 2, turnCpuMs: 25 },
    { nextTurn: (then) => turns.push(then), spentMs: () => 0 },
  );
  const started: string[] = [];
  const release = ['a', 'b', 'c', 'd', 'e'].map((name) => limiter.acquire('x', () => started.push(name)));
  expect(started).toEqual(['a', 'b']);
  release[0]?.();
  expect(started).toEqual(['a', 'b']);
  turns.shift()?.();
  expect(started).toEqual(['a', 'b', 'c', 'd']);
  turns.shift()?.();
  expect(started).toEqual(['a', 'b', 'c', 'd', 'e']);
  turns.shift()?.();
  // none has begun in the last turn: there is nothing to wait for
  expect(turns).toEqual([]);
  limiter.acquire('x', () => started.push('f'));
  expect(started.at(-1)).toBe('f');
});

it('begins fewer in a turn while turns cost too much, four at least, and more again when they are cheap', () => {
  const turns: (() => void)[] = [];
  let spent = 0;
  const limiter = createHandshakeLimiter(
    { maxHandshakes: 10_000, startsPerTurn: 16, turnCpuMs: 25 },
    { nextTurn: (then) => turns.push(then), spentMs: () => spent },
  );
  let started = 0;
  for (let index = 0; index < 5000; index++) limiter.acquire('x', () => started++);
  const turn = (costMs: number) => {
    const before = started;
    spent += costMs;
    turns.shift()?.();
    return started - before;
  };
  expect([turn(50), turn(50), turn(50), turn(50)]).toEqual([16, 15, 14, 13]);
  expect(Array.from({ length: 30 }, () => turn(50)).at(-1)).toBe(4);
  expect([turn(10), turn(10), turn(10)]).toEqual([5, 6, 7]);
  expect(Array.from({ length: 30 }, () => turn(10)).at(-1)).toBe(16);
});

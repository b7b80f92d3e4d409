import { expect, it } from 'vitest';
import { createHandshakeLimiter } from '../../broker/listener/handshake-limiter.ts';

it('lets so many in at a time, and the next when one leaves, which it may do twice', () => {
  const turnstile = createHandshakeLimiter(2);
  const went: string[] = [];
  const leave = ['a', 'b', 'c', 'd'].map((name) => turnstile.enter('x', () => went.push(name)));
  expect(went).toEqual(['a', 'b']);
  leave[0]?.();
  leave[0]?.();
  expect(went).toEqual(['a', 'b', 'c']);
  leave[1]?.();
  expect(went).toEqual(['a', 'b', 'c', 'd']);
});

it('takes turns between addresses, however long their lines', () => {
  const turnstile = createHandshakeLimiter(1);
  const went: string[] = [];
  const first = turnstile.enter('flood', () => went.push('first'));
  const leaves = Array.from({ length: 100 }, (_, index) => turnstile.enter('flood', () => went.push(`flood ${index}`)));
  const honest = turnstile.enter('honest', () => went.push('honest'));
  first();
  leaves[0]?.();
  expect(went).toEqual(['first', 'flood 0', 'honest']);
  honest();
  expect(went.at(-1)).toBe('flood 1');
});

it('forgets who gives up while waiting', () => {
  const turnstile = createHandshakeLimiter(1);
  const went: string[] = [];
  const leave = turnstile.enter('x', () => went.push('in'));
  turnstile.enter('y', () => went.push('gave up'))();
  turnstile.enter('z', () => went.push('next'));
  expect(turnstile.waiting()).toBe(1);
  leave();
  expect(went).toEqual(['in', 'next']);
  expect(turnstile.waiting()).toBe(0);
});

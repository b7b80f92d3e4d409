import * as v8 from 'node:v8';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { fitHeapGrowth } from '../../runtime/heap-growth.ts';

vi.mock('node:v8', { spy: true });

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it('the heap stays small with few connections, and may grow while a whole site is connected', () => {
  const told = vi.mocked(v8.setFlagsFromString).mockImplementation(() => {});
  let open = 100;
  const fitting = fitHeapGrowth(() => open);
  for (const next of [100, 5000, 6000, 10]) {
    open = next;
    vi.advanceTimersByTime(1000);
  }
  void fitting.close();
  open = 5000;
  vi.advanceTimersByTime(5000);
  expect(told.mock.calls).toEqual([
    ['--heap-growing-percent=20'],
    ['--heap-growing-percent=200'],
    ['--heap-growing-percent=20'],
  ]);
});

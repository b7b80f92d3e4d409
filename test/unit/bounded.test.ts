import { describe, expect, it } from 'vitest';
import { forEachBounded } from '../../operator/bounded.ts';

describe('work on a list, some items at a time', () => {
  it('ends with its first failure, after what is under way is done', async () => {
    const done: number[] = [];
    const work = forEachBounded([1, 2, 3, 4, 5], 2, async (item) => {
      if (item === 1) throw new Error('first');
      await new Promise((resolve) => setTimeout(resolve, 5));
      done.push(item);
    });
    await expect(work).rejects.toThrow('first');
    expect(done).toEqual([2]);
  });

  it('ends with the failure of the list itself only after what is under way is done', async () => {
    const done: number[] = [];
    async function* list() {
      yield 1;
      yield 2;
      throw new Error('the rest cannot be read');
    }
    const work = forEachBounded(list(), 10, async (item) => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      done.push(item);
    });
    await expect(work).rejects.toThrow('the rest cannot be read');
    expect(done).toEqual([1, 2]);
  });
});

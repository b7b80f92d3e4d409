import { describe, expect, it } from 'vitest';
import { forEachBounded, mapBounded } from '../../operator/bounded.ts';

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

describe('outcomes of work on a list, in its order', () => {
  async function* listOf(...items: number[]) {
    yield* items;
  }
  const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
  async function collect(outcomes: AsyncIterable<number>): Promise<{ got: number[]; error?: unknown }> {
    const got: number[] = [];
    try {
      for await (const outcome of outcomes) got.push(outcome);
      return { got };
    } catch (error) {
      return { got, error };
    }
  }

  it('come in the order of the items, with a bounded number under way', async () => {
    let [under, most] = [0, 0];
    const outcomes = mapBounded(listOf(9, 1, 5, 1, 7, 1), 3, async (item) => {
      most = Math.max(most, ++under);
      await later(item);
      under--;
      return item;
    });
    expect(await collect(outcomes)).toEqual({ got: [9, 1, 5, 1, 7, 1] });
    expect(most).toBe(3);
  });

  it('all come for the items under way at the first failure, which is thrown after them; no further item is taken', async () => {
    const taken: number[] = [];
    const outcomes = mapBounded(listOf(1, 2, 3, 4, 5, 6), 3, async (item) => {
      taken.push(item);
      await later(5);
      if (item === 2) throw new Error('second');
      return item;
    });
    expect(await collect(outcomes)).toEqual({ got: [1, 3, 4], error: new Error('second') });
    expect(taken).toEqual([1, 2, 3, 4]);
  });

  it('come for the items before the list itself fails', async () => {
    async function* list() {
      yield* [1, 2];
      throw new Error('the rest cannot be read');
    }
    const outcomes = mapBounded(list(), 10, async (item) => item);
    expect(await collect(outcomes)).toEqual({ got: [1, 2], error: new Error('the rest cannot be read') });
  });
});

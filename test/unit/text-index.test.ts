import { describe, expect, it } from 'vitest';
import { createTextIndex } from '../../runtime/text-index.ts';

describe('an index of texts', () => {
  it('has the last number of each text, however many there are', () => {
    const index = createTextIndex();
    const texts = Array.from({ length: 20_000 }, (_, number) => `text ${number}`);
    for (const [number, text] of texts.entries()) index.set(text, number);
    index.set('text 7', 2 ** 40);
    expect(texts.filter((text, number) => index.get(text) !== number)).toEqual(['text 7']);
    expect([index.get('text 7'), index.get('another'), index.get('')]).toEqual([2 ** 40, undefined, undefined]);
  });
});

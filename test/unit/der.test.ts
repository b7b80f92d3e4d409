import { describe, expect, it } from 'vitest';
import { derTag, readDer, readWithin, writeDer } from '../../runtime/der.ts';

describe('DER', () => {
  it.each([0, 1, 127, 128, 255, 256, 4096, 65_535])('reads an element of %i bytes as it was written', (length) => {
    const content = Buffer.alloc(length, 7);
    const written = writeDer(derTag.sequence, content);
    expect(readDer(written)).toEqual([{ tag: derTag.sequence, content, whole: written }]);
  });

  it('reads elements that lie one after the other, and none in nothing', () => {
    const [one, other] = [writeDer(2, Buffer.from([5])), writeDer(5)];
    expect(readDer(Buffer.concat([one, other])).map(({ tag }) => tag)).toEqual([2, 5]);
    expect(readDer(Buffer.alloc(0))).toEqual([]);
  });

  it.each([
    ['an indefinite length', '30800201000000'],
    ['the tag that ends an indefinite length', '0000'],
    ['a tag of two bytes', '1f0100'],
    ['a length of three bytes', '0483000001aa'],
    ['a length that is cut off', '0482'],
    ['content that is cut off', '0402aa'],
    ['a tag alone', '04'],
    ['a length of nothing that is longer than it must be', '048100'],
  ])('throws at %s', (_what, hex) => expect(() => readDer(Buffer.from(hex, 'hex'))).toThrow());

  it('throws where an element is missing or is another one', () => {
    const [element] = readDer(writeDer(derTag.set));
    expect(readWithin(element, derTag.set)).toEqual([]);
    expect(() => readWithin(element, derTag.sequence)).toThrow();
    expect(() => readWithin(undefined, derTag.set)).toThrow();
  });

  it('writes no element that is too long to be read again', () => {
    expect(() => writeDer(4, Buffer.alloc(65_536))).toThrow(RangeError);
  });
});

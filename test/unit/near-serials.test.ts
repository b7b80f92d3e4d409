import { describe, expect, it } from 'vitest';
import { findNearSerials, patternOf, variantsOf } from '../../operator/near-serials.ts';

const enrolled = (...serials: string[]) => {
  const reads: string[] = [];
  return {
    reads,
    isEnrolled: async (serial: string) => {
      reads.push(serial);
      return serials.includes(serial);
    },
    matching: async () => [],
  };
};

describe('serials that somebody may have meant', () => {
  it.each([
    ['sn-100', 'SN-100'],
    ['SN_100', 'SN-100'],
    ['SNIO0', 'SN100'],
    ['aabbccddeeff', 'AA:BB:CC:DD:EE:FF'],
    ['AA-BB-CC-DD-EE-FF', 'aa:bb:cc:dd:ee:ff'],
    ['AA:BB:CC:DD:EE:FF', 'AABBCCDDEEFF'],
    ['SN-O1', 'SN-01'],
    ['SN-0I', 'SN-01'],
  ])('%s finds %s by reads of single rows', async (asked, meant) => {
    const source = enrolled(meant);
    const found = await findNearSerials(asked, source);
    // two mistakes at once are found by the pattern, in the roster
    if (asked === 'SNIO0') expect(found).toEqual([]);
    else expect(found).toEqual([meant]);
    expect(source.reads.length).toBeLessThanOrEqual(16);
    expect(source.reads).not.toContain(asked);
  });

  it('the pattern fits a serial with a prefix, in any case and with look-alikes', () => {
    const inWords = new RegExp(`^${patternOf('x-O1').replaceAll('*', '.*').replaceAll('?', '.')}$`);
    for (const serial of ['SN-X-01', 'X:oL', 'x-0I-2']) expect(serial).toMatch(inWords);
    expect('X-02').not.toMatch(inWords);
  });

  it('a text that is no serial has none, and no variant is the serial itself', async () => {
    expect(await findNearSerials('a b', enrolled('ab'))).toEqual([]);
    expect(variantsOf('ABC')).not.toContain('ABC');
  });
});

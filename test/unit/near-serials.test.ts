import { describe, expect, it } from 'vitest';
import { findAlikeSerials, mostSeeks } from '../../operator/alike-serials.ts';
import { findNearSerials, variantsOf } from '../../operator/near-serials.ts';

/** The list of a site, which counts how often it is asked. */
function siteOf(serials: Iterable<string>) {
  const sorted = [...new Set(serials)].sort();
  const site = {
    seeks: 0,
    async serialsFrom(text: string, limit: number) {
      site.seeks++;
      let [low, high] = [0, sorted.length];
      while (low < high) {
        const middle = (low + high) >> 1;
        if ((sorted[middle] ?? '') < text) low = middle + 1;
        else high = middle;
      }
      return sorted.slice(low, low + limit);
    },
  };
  return site;
}

const enrolled = (...serials: string[]) => {
  const reads: string[] = [];
  return {
    reads,
    isEnrolled: async (serial: string) => {
      reads.push(serial);
      return serials.includes(serial);
    },
    serialsFrom: async () => [],
  };
};

describe('serials that somebody may have meant', () => {
  it.each([
    ['sn-100', 'SN-100'],
    ['SN_100', 'SN-100'],
    ['aabbccddeeff', 'AA:BB:CC:DD:EE:FF'],
    ['AA-BB-CC-DD-EE-FF', 'aa:bb:cc:dd:ee:ff'],
    ['AA:BB:CC:DD:EE:FF', 'AABBCCDDEEFF'],
    ['SN-O1', 'SN-01'],
    ['SN-0I', 'SN-01'],
  ])('%s finds %s by reads of single rows, of whatever site', async (asked, meant) => {
    const source = enrolled(meant);
    expect(await findNearSerials(asked, source)).toEqual([meant]);
    expect(source.reads.length).toBeLessThanOrEqual(16);
    expect(source.reads).not.toContain(asked);
  });

  it('a text that is no serial has none, and no variant is the serial itself', async () => {
    expect(await findNearSerials('a b', enrolled('ab'))).toEqual([]);
    expect(variantsOf('ABC')).not.toContain('ABC');
  });

  it('are those of single rows first, then those of the list, each once and never the serial itself', async () => {
    const { serialsFrom } = siteOf(['SN-100', 'sn-100', 'SN-1OO', 'SN-1001']);
    const source = { ...enrolled('SN-100'), serialsFrom };
    expect(await findNearSerials('sn-100', source)).toEqual(['SN-100', 'SN-1OO', 'SN-1001']);
  });

  it('are those of single rows while the list cannot be read', async () => {
    const serialsFrom = () => Promise.reject(new Error('Redis is away'));
    expect(await findNearSerials('sn-100', { ...enrolled('SN-100'), serialsFrom })).toEqual(['SN-100']);
  });
});

describe('serials of the site that look alike', () => {
  it.each([
    ['case', 'ab-01x7', 'AB-01X7'],
    ['separators that were exchanged', 'SN_10:7', 'SN-10-7'],
    ['separators that were left out', 'SN107', 'SN-10-7'],
    ['separators that were added', '-S-N-1-0-7-', 'SN107'],
    ['separators twice', 'SN-107', 'SN::107'],
    ['O and 0', 'SNOOO', 'SN0O0'],
    ['Q and D for 0', 'SNQD1', 'SN001'],
    ['I, l and 1', 'SN-Il1', 'SN-1I1'],
    ['S and 5', 'XS-5S5', 'X5-S5S'],
    ['B and 8', 'BB88BB', '8B8B8B'],
    ['Z and 2', 'Z22Z', '2ZZ2'],
    ['a letter that looks like a figure, in lower case', 'SN-D1', 'sn-d1'],
    ['all of it at once', 'sniooz', 'SN-10-02'],
    ['the beginning of a longer one', 'sn-1o0', 'SN-100-2'],
  ])('are found whatever differs: %s', async (_what, asked, meant) => {
    const others = Array.from({ length: 500 }, (_, index) => `${index}-OTHER`);
    expect(await findAlikeSerials(asked, siteOf([...others, meant, 'SN', 'YYYY']).serialsFrom)).toEqual([meant]);
  });

  it('are none where a character differs that looks otherwise, where one is missing, or where it begins otherwise', async () => {
    const { serialsFrom } = siteOf(['SN-10', 'SN-1O8', 'XSN-107', 'S-N-1-0-6']);
    expect(await findAlikeSerials('SN-107', serialsFrom)).toEqual([]);
  });

  it('are five at most: those of the same length first, whatever their order', async () => {
    const longer = Array.from({ length: 50 }, (_, index) => `SN-100${index}`);
    const { serialsFrom } = siteOf([...longer, 'SN100', 'sn_1oo']);
    expect(await findAlikeSerials('SN-100', serialsFrom)).toEqual([
      'SN100',
      'sn_1oo',
      'SN-1000',
      'SN-1001',
      'SN-10010',
    ]);
  });

  it('are none for one or two characters, which begin too many', async () => {
    const site = siteOf(['SN-100', 'SN']);
    for (const short of ['S', 'SN', 'S-N', '---']) expect(await findAlikeSerials(short, site.serialsFrom)).toEqual([]);
    expect(site.seeks).toBe(0);
  });

  it('are those that a comparison with each serial finds, for any site', async () => {
    const sound = (serial: string) =>
      serial.toUpperCase().replace(/[-:_]/g, '').replace(/[OQD]/g, '0').replace(/[IL]/g, '1').replace(/S/g, '5');
    let state = 1;
    const random = (below: number) => {
      state = (state * 48271) % 2147483647;
      return state % below;
    };
    const some = () => Array.from({ length: 3 + random(4) }, () => '0OoDdQ1IlSs5A-:_z'[random(17)]).join('');
    for (let round = 0; round < 300; round++) {
      const serials = Array.from({ length: 1 + random(300) }, some);
      const [asked, sorted] = [some(), [...new Set(serials)].sort()];
      const wanted = sound(asked);
      const whole = sorted.filter((serial) => sound(serial) === wanted);
      const longer = sorted.filter((serial) => sound(serial) !== wanted && sound(serial).startsWith(wanted));
      const expected = wanted.length < 3 ? [] : [...whole, ...longer].slice(0, 5);
      expect(await findAlikeSerials(asked, siteOf(serials).serialsFrom), asked).toEqual(expected);
    }
  });

  it('are looked for by two questions for each character, however many serials there are', async () => {
    const site = siteOf(Array.from({ length: 100_000 }, (_, index) => `SN-${String(index).padStart(8, '0')}`));
    for (const asked of ['sn_OOOO1234', 'SN-0000', 'SN-00099999', 'NOBODY', 'OOOOOOOO', '0'.repeat(128)]) {
      site.seeks = 0;
      await findAlikeSerials(asked, site.serialsFrom);
      expect(site.seeks, asked).toBeLessThanOrEqual(2 * asked.length);
    }
  });

  it('cost a bounded number of questions also where all serials and the one that is asked for are made of look-alikes', async () => {
    const both = (index: number, of: string) =>
      [...index.toString(2).padStart(14, '0')].map((bit) => of[Number(bit)]).join('');
    for (const pair of ['0O', '1l', '5S', '8B', '2Z', '-_']) {
      const site = siteOf(Array.from({ length: 2 ** 14 }, (_, index) => `${both(index, pair)}X`));
      await findAlikeSerials(`${(pair[0] ?? '').repeat(14)}YYY`, site.serialsFrom);
      expect(site.seeks).toBeLessThanOrEqual(mostSeeks);
    }
  });

  it('are serials only, and are found beside what is none', async () => {
    const { serialsFrom } = siteOf(['SN-1\x01', 'SN-1 <b>', 'SN-1/7', 'SN-1\uffff', `SN-1${'7'.repeat(128)}`, 'SN_17']);
    expect(await findAlikeSerials('SN-1', serialsFrom)).toEqual(['SN_17']);
    expect(await findAlikeSerials('SN-17', serialsFrom)).toEqual(['SN_17']);
  });
});

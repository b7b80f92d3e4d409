import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type QuotaBuckets, quotaRule } from '../../aws/quota-buckets.ts';

/** So slow that nothing fills up while a test runs. Calls a second. */
export const limits = { Scarce: 0.1, Other: 0.1, Ample: 500 };

/** As digits of `toBeCloseTo`: five seconds, half of what one token of `Scarce` takes. The buckets fill while the test runs. */
const withinSeconds = -1;

/** Emptied before each test. */
export type BucketsFixture = { readonly buckets: QuotaBuckets; clear(): Promise<unknown>; close(): Promise<void> };

export function quotaBucketsContract(name: string, open: () => Promise<BucketsFixture>): void {
  describe(`quota buckets: ${name}`, () => {
    let fixture: BucketsFixture;
    let buckets: QuotaBuckets;
    beforeAll(async () => {
      fixture = await open();
      buckets = fixture.buckets;
    });
    beforeEach(() => fixture.clear());
    afterAll(() => fixture?.close());

    it('takes all tokens or none, and says how long it will be', async () => {
      expect(await buckets.takeAll({ Scarce: 2, Other: 1 })).toBe(0);
      const waitMs = await buckets.takeAll({ Scarce: 1, Other: 1 });
      expect(waitMs / 1000).toBeCloseTo(1 / (limits.Scarce * quotaRule.ceiling), withinSeconds);
      // the second of the other was not taken
      expect(await buckets.takeAll({ Other: 1 })).toBe(0);
      expect(await buckets.takeAll({ Other: 1 })).toBeGreaterThan(0);
    });

    it('never lets more wait for than a full bucket has', async () => {
      expect(await buckets.takeAll({ Scarce: 1000 })).toBe(0);
    });

    it('takes one in advance, each after the one before, and before all that wait for all of theirs', async () => {
      const waits = [];
      for (let count = 0; count < 4; count++) waits.push(await buckets.takeOne('Scarce'));
      const perToken = 1 / (limits.Scarce * quotaRule.ceiling);
      expect(waits.slice(0, 2)).toEqual([0, 0]);
      expect((waits[2] ?? 0) / 1000).toBeCloseTo(perToken, withinSeconds);
      expect((waits[3] ?? 0) / 1000).toBeCloseTo(2 * perToken, withinSeconds);
      expect((await buckets.takeAll({ Scarce: 1 })) / 1000).toBeCloseTo(3 * perToken, withinSeconds);
    });

    it('takes tokens back, up to a full bucket', async () => {
      await buckets.takeAll({ Scarce: 2, Other: 1 });
      await buckets.giveBack({ Scarce: 1, Other: 50 });
      expect(await buckets.takeAll({ Scarce: 1, Other: 2 })).toBe(0);
      expect(await buckets.takeAll({ Other: 1 })).toBeGreaterThan(0);
    });

    it('lowers the rate of the operation that was throttled: steeply at first, where the whole quota was used', async () => {
      const full = limits.Ample * quotaRule.ceiling;
      const { cut, steepCut } = quotaRule;
      expect(await buckets.rates()).toMatchObject({ Ample: expect.closeTo(full, 3) });
      const shares: number[] = [];
      for (let count = 0; count < 3; count++) shares.push(((await buckets.throttled('Ample', 0)) ?? 0) / full);
      // they grow a little meanwhile
      expect(shares[0]).toBeCloseTo(steepCut, 1);
      expect(shares[1]).toBeCloseTo(steepCut ** 2, 1);
      expect((shares[2] ?? 0) / (shares[1] ?? 1)).toBeCloseTo(cut, 1);
      const { Ample = 0, Scarce = 0 } = await buckets.rates();
      expect(Ample / full).toBeCloseTo(shares[2] ?? 0, 1);
      expect(Scarce).toBeCloseTo(limits.Scarce * quotaRule.ceiling, 4);
      // nothing is left of what might have been called at once
      await buckets.throttled('Scarce', 0);
      expect(await buckets.takeAll({ Scarce: 1 })).toBeGreaterThan(0);
    });

    it('lowers it once for all calls that were under way', async () => {
      expect(await buckets.throttled('Ample', 60)).toBeDefined();
      expect(await buckets.throttled('Ample', 5000)).toBeUndefined();
    });
  });
}

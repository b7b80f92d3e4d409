import { describe, expect, it } from 'vitest';
import { efficiencyOf, fairnessOf, runStorms, servedBetween } from '../support/governed-account.ts';

const seeds = [1, 2, 3, 4, 5, 6];
const mean = (numbers: readonly number[]) => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;
const five = (devices: number, startAt = 0) => Array.from({ length: 5 }, () => ({ devices, startAt }));

describe('the quota governor, in virtual time', () => {
  it.each([60, 500])(
    'uses nearly all of the scarcest quota with %i ms a call, in order of arrival, and is not throttled',
    async (callMs) => {
      for (const seed of seeds) {
        const { served, order, throttledShare } = await runStorms([{ devices: 600 }], { seed, callMs });
        expect(efficiencyOf(served)).toBeGreaterThanOrEqual(0.97);
        expect(throttledShare).toBeLessThanOrEqual(0.01);
        expect(order[0]).toEqual(Array.from({ length: 600 }, (_, device) => device));
      }
    },
  );

  it('shares the account with four gateways that it knows nothing of, fairly, and throttled seldom', async () => {
    const runs = await Promise.all(seeds.map((seed) => runStorms(five(120), { seed })));
    const paces = runs.map(({ served }) => fairnessOf(served.map((times) => times.length / Math.max(...times))));
    expect(mean(runs.map(({ served }) => efficiencyOf(served)))).toBeGreaterThanOrEqual(0.93);
    expect(Math.max(...runs.map(({ throttledShare }) => throttledShare))).toBeLessThanOrEqual(0.03);
    expect(Math.min(...paces)).toBeGreaterThanOrEqual(0.9);
  });

  it.each([
    ['come late', { heldUpUntil: 4000 }],
    ['come in bunches', { bunchedMs: 400 }],
  ])('is throttled seldom by the storm of five gateways whose first calls %s', async (_, machine) => {
    const runs = await Promise.all(seeds.map((seed) => runStorms(five(120), { seed, ...machine })));
    expect(mean(runs.map(({ throttledShare }) => throttledShare))).toBeLessThanOrEqual(0.03);
    expect(mean(runs.map(({ thrownBack }) => thrownBack))).toBeLessThanOrEqual(1);
    for (const { served } of runs) expect(served.flat()).toHaveLength(600);
  });

  it('makes room for a gateway that begins later', async () => {
    for (const seed of seeds.slice(0, 3)) {
      const storms = [...five(400).slice(1), { devices: 400, startAt: 20_000 }];
      const { served, throttledShare } = await runStorms(storms, { seed });
      expect(fairnessOf(servedBetween(served, 60_000, 120_000))).toBeGreaterThanOrEqual(0.9);
      expect(throttledShare).toBeLessThanOrEqual(0.03);
    }
  });

  it('returns to the whole quota when the others have gone', async () => {
    for (const seed of seeds.slice(0, 3)) {
      const { served } = await runStorms([{ devices: 1200 }, ...five(100).slice(1)], { seed });
      const othersGone = Math.max(...served.slice(1).flat());
      const [later = 0] = servedBetween(served, othersGone + 40_000, othersGone + 60_000);
      expect(later / 20).toBeGreaterThanOrEqual(9.7);
    }
  });

  it('makes calls that were held up on their path one after the other, and is not throttled', async () => {
    for (const seed of seeds.slice(0, 3)) {
      const { throttledShare, served } = await runStorms([{ devices: 100 }], { seed, heldUpUntil: 4000 });
      expect(throttledShare).toBe(0);
      expect(served.flat()).toHaveLength(100);
    }
  });

  it('leaves room for another tool of the account, whose calls it cannot know', async () => {
    const { served, throttledShare } = await runStorms([{ devices: 400 }], { seed: 1, foreignPerSecond: 5 });
    expect(throttledShare).toBeLessThanOrEqual(0.05);
    expect(served.flat()).toHaveLength(400);
  });
});

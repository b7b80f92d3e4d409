import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type Gateways, gatewaysToSealTo } from '../../registry/gateways.ts';
import { newGateway } from '../support/trust.ts';

const [now, day, minute] = [1_700_000_000_000, 86_400_000, 60_000];
const some = (count: number) => Array.from({ length: count }, () => newGateway().identity);

/** The promises of the port, for every adapter. @param open gives the gateways of a new table each time */
export function gatewaysContract(
  name: string,
  start: () => Promise<{ open(): Promise<Gateways>; close(): Promise<void> }>,
): void {
  describe(`gateways contract: ${name}`, () => {
    let started: Awaited<ReturnType<typeof start>>;
    let gateways: Gateways;
    beforeAll(async () => {
      started = await start();
    });
    beforeEach(async () => {
      gateways = await started.open();
    });
    afterAll(() => started.close());
    const states = async () =>
      Object.fromEntries((await gateways.known()).map(({ id, state }): [string, string] => [id, state]));
    const [one = newGateway().identity, two = one, three = one] = some(3);
    const seen = (gateway = one, at = now) => gateways.record([{ gateway, at }], now);

    it('the first gateway of a table is approved by itself, and every other one waits', async () => {
      expect(await gateways.known()).toEqual([]);
      const first = { ...one, state: 'approved', seenAt: now };
      expect(await seen(one)).toEqual({ known: [first], approved: first });
      expect(await seen(one)).toEqual({ known: [first] });
      expect(await seen(two)).toEqual({ known: [first, { ...two, state: 'waiting', seenAt: now }] });
    });

    it('of many that come at once, to many workers, one is approved', async () => {
      const results = await Promise.all(some(8).map((gateway) => seen(gateway)));
      expect(results.filter(({ approved }) => approved !== undefined)).toHaveLength(1);
      expect(Object.values(await states()).sort()).toEqual(['approved', ...Array(7).fill('waiting')]);
    });

    it('has the site of the worker that noted it, and the new one after that changed', async () => {
      await gateways.record([{ gateway: one, at: now }], now, 'north');
      expect(await gateways.known()).toMatchObject([{ id: one.id, site: 'north', state: 'approved' }]);
      const { known } = await gateways.record([{ gateway: one, at: now }], now, 'south');
      expect(known).toMatchObject([{ id: one.id, site: 'south', state: 'approved' }]);
      await seen(one);
      expect((await gateways.known())[0]).not.toHaveProperty('site');
    });

    it('one that waits is approved by an operator', async () => {
      await seen(one);
      expect(await gateways.approve(two.id)).toBe('unknown');
      await seen(two);
      expect(await gateways.approve(two.id)).toBe('approved');
      expect(await gateways.approve(two.id)).toBe('was-approved');
      expect(await states()).toEqual({ [one.id]: 'approved', [two.id]: 'approved' });
    });

    it('one that is forgotten waits when it comes again, also when no other is approved', async () => {
      await seen(one);
      expect(await gateways.forget(two.id)).toBe(false);
      expect(await gateways.forget(one.id)).toBe(true);
      expect(await gateways.forget(one.id)).toBe(false);
      expect(await gateways.known()).toEqual([]);
      await seen(two);
      await seen(one);
      expect(await states()).toEqual({ [one.id]: 'waiting', [two.id]: 'waiting' });
    });

    it('keeps the sixteen waiting ones that were seen last, and every approved one', async () => {
      await seen(one, now - 9 * day);
      await seen(two, now - 9 * day);
      await gateways.approve(two.id);
      const many = some(20);
      const at = (index: number) => now - (20 - index) * minute;
      await gateways.record(
        many.map((gateway, index) => ({ gateway, at: at(index) })),
        now,
      );
      await seen(three, now - 8 * day);
      const known = await gateways.known();
      expect(known.slice(0, 2).map(({ id }) => id)).toEqual([one.id, two.id].sort());
      expect(known.slice(2).map(({ id }) => id)).toEqual(
        many
          .slice(4)
          .map(({ id }) => id)
          .sort(),
      );
    });

    it('notes when each was seen, to the minute, and never later than now', async () => {
      const seenAt = async () => (await gateways.known()).map((gateway) => gateway.seenAt);
      await seen(one, now - day);
      await seen(one, now - day + minute - 1);
      expect(await seenAt()).toEqual([now - day]);
      await seen(one, now - day + minute);
      expect(await seenAt()).toEqual([now - day + minute]);
      await seen(one, now - 2 * day);
      expect(await seenAt()).toEqual([now - day + minute]);
      await seen(one, now + day);
      expect(await seenAt()).toEqual([now]);
    });

    it('are sealed to when they are approved, until they have not been seen for a month', async () => {
      await seen(one, now);
      await seen(two, now);
      const ids = async (at: number) => gatewaysToSealTo(await gateways.known(), at).map(({ id }) => id);
      expect(await ids(now)).toEqual([one.id]);
      expect(await ids(now + 30 * day - 1)).toEqual([one.id]);
      expect(await ids(now + 30 * day)).toEqual([]);
    });

    it('the seed of the signing key is made once, however many ask, and stays', async () => {
      expect(await gateways.findSigningSeed()).toBeUndefined();
      const seeds = await Promise.all(['aa', 'bb', 'cc'].map((candidate) => gateways.signingSeed(candidate)));
      expect(new Set(seeds).size).toBe(1);
      await seen(one);
      await gateways.forget(one.id);
      expect(await gateways.signingSeed('dd')).toBe(seeds[0]);
      expect(await gateways.findSigningSeed()).toBe(seeds[0]);
    });

    it('names that are no ids change nothing', async () => {
      await seen(one);
      for (const id of ['__proto__', 'constructor', '', '#0']) {
        expect(await gateways.approve(id)).toBe('unknown');
        expect(await gateways.forget(id)).toBe(false);
      }
    });
  });
}

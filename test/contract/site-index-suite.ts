import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import type { AssociationTable } from '../../registry/dynamodb/association-table.ts';
import type { Item } from '../../registry/dynamodb/table.ts';
import { newGateway } from '../support/trust.ts';

/** A table whose clock the test sets, and to which another tool can write. */
export type OpenIndex = {
  readonly table: Pick<AssociationTable, 'registry' | 'sites' | 'changes' | 'gateways'>;
  readonly clock: { now: number };
  /** as another tool does */
  put(item: Item): Promise<void>;
  close(): Promise<void>;
};

const [tokenHash, leaseMs] = [hashToken('the-token-of-the-device'), 10_000];

/** The promises of the index, and of announcements by site. */
export function siteIndexContract(name: string, open: () => Promise<OpenIndex>): void {
  describe(`site index contract: ${name}`, () => {
    let { table, clock, put, close } = {} as OpenIndex;
    beforeAll(async () => {
      ({ table, clock, put, close } = await open());
    });
    afterAll(() => close());
    let count = 0;
    async function fresh(site?: string): Promise<string> {
      const serial = `SN:${++count}`;
      const named = site === undefined ? {} : { site };
      expect(await table.registry.enrol({ serial, tokenHash, enrolledAt: clock.now, ...named })).toBe(true);
      return serial;
    }
    const found = async (serial: string) => {
      const device = await table.registry.find(serial);
      if (device === undefined) throw new Error(`${serial} is not there`);
      return device;
    };
    async function listed(site: string, since?: number): Promise<string[]> {
      const serials: string[] = [];
      for await (const { serial } of table.sites.list(site, since)) serials.push(serial);
      return serials.sort();
    }

    it('has the devices of a site and those without one, and none of another site', async () => {
      const [own, other, any] = [await fresh('one'), await fresh('two'), await fresh()];
      expect(await listed('one')).toEqual(expect.arrayContaining([own, any]));
      expect(await listed('one')).not.toContain(other);
      expect(await listed('two')).not.toContain(own);
    });

    it('has of a device what a gateway must know of it, as the row has it', async () => {
      const site = 'whole';
      const serial = await fresh(site);
      const sealedKeys = { gateway: 'sealed' };
      await table.registry.reissue(await found(serial), { tokenHash, tokenExpiresAt: 5, sealedKeys });
      for await (const device of table.sites.list(site))
        if (device.serial === serial)
          expect(device).toMatchObject({ serial, site, tokenHash, sealedKeys, state: 'enrolled', tokenExpiresAt: 5 });
    });

    it('tells what has changed since then: each change that gateways must know, and no claim', async () => {
      const [site, token] = ['changing', { tokenHash }];
      const serial = await fresh(site);
      const { registry } = table;
      const isNew = async (change: () => Promise<unknown>) => {
        clock.now += 1000;
        await change();
        return (await listed(site, clock.now)).includes(serial);
      };
      const claim = () => registry.claim({ serial, tokenHash, now: clock.now, leaseMs, site });
      expect(await isNew(async () => {})).toBe(false);
      expect(await isNew(claim)).toBe(false);
      const attempt = await found(serial);
      expect(await isNew(() => registry.recordCertificate(attempt, { certificateId: 'c', keptReply: 'AA' }))).toBe(
        false,
      );
      expect(await isNew(() => registry.finish(attempt, 'c', clock.now))).toBe(true);
      expect(await isNew(() => registry.acknowledge(serial, tokenHash, 'c', clock.now, site))).toBe(true);
      expect(await isNew(async () => registry.block(await found(serial)))).toBe(true);
      expect(await isNew(async () => registry.unblock(await found(serial)))).toBe(true);
      expect(await isNew(async () => registry.reissue(await found(serial), token))).toBe(true);
      expect(await isNew(async () => registry.move(await found(serial), 'changed'))).toBe(false);
      expect(await listed('changed', clock.now)).toEqual([serial]);
    });

    it('tells of a device that was removed with its thing, also one without a site', async () => {
      for (const site of ['removing', undefined]) {
        const serial = await fresh(site);
        await table.registry.retire(await found(serial), 'with-thing');
        clock.now += 1000;
        expect(await table.registry.remove(await found(serial), clock.now)).toBe(true);
        const left = [];
        for await (const device of table.sites.list('removing', clock.now)) left.push(device);
        expect(left).toMatchObject([{ serial, removedAt: clock.now }]);
        expect(await table.registry.find(serial)).toBeUndefined();
      }
    });

    it('has a row that another tool wrote when a sweep has entered it, once', async () => {
      const row = { accessToken: { S: tokenHash }, applyState: { N: '0' } };
      await put({ productId: { S: 'TOOL:1' }, ...row });
      await put({ productId: { S: 'TOOL:2' }, site: { S: 'tool' }, ...row });
      expect(await listed('tool')).not.toEqual(expect.arrayContaining(['TOOL:1']));
      for (const serial of ['TOOL:1', 'TOOL:2']) {
        expect(await table.registry.enterInIndex(await found(serial), clock.now)).toBe(true);
        expect(await table.registry.enterInIndex(await found(serial), clock.now)).toBe(false);
      }
      expect(await listed('tool')).toEqual(expect.arrayContaining(['TOOL:1', 'TOOL:2']));
      expect(await listed('another')).not.toContain('TOOL:2');
      expect(await found('TOOL:1')).not.toHaveProperty('site');
    });

    it('a row of another tool is claimed at every site before that, and entered by the first change that gateways must know', async () => {
      await put({ productId: { S: 'TOOL:3' }, accessToken: { S: tokenHash }, applyState: { N: '0' } });
      const claim = { serial: 'TOOL:3', tokenHash, now: clock.now, leaseMs };
      expect(await table.registry.claim({ ...claim, site: 'any' })).toMatchObject({ outcome: 'claimed' });
      expect(await table.registry.block(await found('TOOL:3'))).toBe(true);
      expect(await listed('any')).toContain('TOOL:3');
    });

    it('is used as soon as a gateway with a site is known', async () => {
      const { gateways, sites } = table;
      await gateways.record([{ gateway: newGateway().identity, at: 1 }], 1);
      expect(await sites.isUsed()).toBe(false);
      await gateways.record([{ gateway: newGateway().identity, at: 1 }], 1, 'north');
      expect(await sites.isUsed()).toBe(true);
    });

    it('announcements of a site are counted for themselves, and those of devices without one as well', async () => {
      const { changes } = table;
      const latest = async () => Promise.all([changes.latest(), changes.latest('a'), changes.latest('b')]);
      const [common, a, b] = await latest();
      await changes.announce(['A-1', 'A-2'], 'a');
      await changes.announce(['B-1'], 'b');
      await changes.announce(['C-1']);
      expect(await latest()).toEqual([common + 1, a + 1, b + 1]);
      expect(await Promise.all([changes.glance(), changes.glance('a')])).toEqual([common + 1, a + 1]);
      expect(new Set(await changes.read(a + 1, 'a'))).toEqual(new Set(['A-1', 'A-2']));
      expect(await changes.read(b + 1, 'b')).toEqual(['B-1']);
      expect(await changes.read(common + 1)).toEqual(['C-1']);
      expect(await changes.read(a + 2, 'a')).toBe('not-yet');
    });
  });
}

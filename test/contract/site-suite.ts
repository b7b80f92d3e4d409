import { describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { keptReply, now, type RegistryFixture, tokenHash } from './registry-fixture.ts';

export function siteContract({ registry, fresh, found, claim, at }: RegistryFixture): void {
  describe('sites', () => {
    const unknown = { outcome: 'refused', problem: problems.invalidToken };
    async function registeredAt(site: string): Promise<string> {
      const serial = await fresh({ site });
      expect(await claim(serial, { site })).toMatchObject({ outcome: 'claimed' });
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      expect(await registry.finish(at(serial, 1), 'c', now)).toBe(true);
      return serial;
    }

    it('a device is claimed at its own site, and unknown at any other and at a gateway without one', async () => {
      const serial = await fresh({ site: 'north' });
      const before = await found(serial);
      for (const site of ['south', undefined, '*', '']) expect(await claim(serial, { site })).toEqual(unknown);
      expect(await found(serial)).toEqual(before);
      expect(await claim(serial, { site: 'north' })).toMatchObject({ outcome: 'claimed', device: { site: 'north' } });
    });

    it('a device without a site is claimed at every site', async () => {
      for (const site of ['north', 'south', undefined])
        expect(await claim(await fresh(), { site })).toMatchObject({ outcome: 'claimed' });
    });

    it('what a device is answered again, and its acknowledgement, are its own site only', async () => {
      const serial = await registeredAt('north');
      for (const site of ['south', undefined]) {
        expect(await claim(serial, { site })).toEqual(unknown);
        expect(await registry.acknowledge(serial, tokenHash, 'c', now, site)).toBe(false);
      }
      expect(await claim(serial, { site: 'north' })).toMatchObject({ outcome: 'registered', device: { keptReply } });
      expect(await registry.acknowledge(serial, tokenHash, 'c', now, 'north')).toBe(true);
    });

    it('a move ends the attempt that is under way; the next one, at the new site, finds its certificate', async () => {
      const serial = await fresh({ site: 'north' });
      await claim(serial, { site: 'north' });
      await registry.recordCertificate(at(serial, 1), { certificateId: 'half', keptReply });
      expect(await registry.move(await found(serial), 'south')).toBe(true);
      expect(await registry.finish(at(serial, 1), 'half', now)).toBe(false);
      expect(await registry.release(at(serial, 1))).toBe(false);
      expect(await claim(serial, { site: 'north' })).toEqual(unknown);
      expect(await claim(serial, { site: 'south' })).toMatchObject({
        outcome: 'claimed',
        device: { certificateId: 'half', keptReply },
      });
    });

    it('a device that has its certificate keeps it when it moves, and is given it again at the new site', async () => {
      const serial = await registeredAt('north');
      expect(await registry.move(await found(serial), undefined)).toBe(true);
      expect(await found(serial)).not.toHaveProperty('site');
      for (const site of ['north', 'south', undefined])
        expect(await claim(serial, { site })).toMatchObject({ outcome: 'registered', device: { certificateId: 'c' } });
    });

    it('a worker of the old site cannot reopen the row of a device that has moved', async () => {
      const serial = await registeredAt('north');
      await registry.eraseKeptReply(await found(serial));
      const read = await found(serial);
      const request = { serial, tokenHash, now, leaseMs: 1000 };
      await registry.move(read, 'south');
      expect(await registry.reopen(read, { ...request, site: 'north' })).toMatchObject({ outcome: 'busy' });
      const moved = await found(serial);
      expect(await registry.reopen(moved, { ...request, site: 'north' })).toMatchObject({ outcome: 'busy' });
      expect(await registry.reopen(moved, { ...request, site: 'south' })).toMatchObject({ outcome: 'claimed' });
    });

    it('a move repeated since its answer was lost is the same move; after another decision it is none', async () => {
      const device = await found(await fresh());
      for (const _repeated of [1, 2]) expect(await registry.move(device, 'north')).toBe(true);
      expect(await registry.block(await found(device.serial))).toBe(true);
      expect(await registry.move(device, 'south')).toBe(false);
      expect(await found(device.serial)).toMatchObject({ site: 'north', state: 'blocked' });
      expect(await registry.move(await found(device.serial), 'south')).toBe(true);
      expect(await found(device.serial)).toMatchObject({ site: 'south', state: 'blocked' });
    });
  });
}

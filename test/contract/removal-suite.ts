import { describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { createIntentsOf } from '../../registry/create-intents.ts';
import type { Device } from '../../registry/device.ts';
import { keptReply, now, type RegistryFixture } from './registry-fixture.ts';

export function removalContract({ registry, fresh, found, claim, at, registered }: RegistryFixture): void {
  describe('deleting certificates and removing devices', () => {
    describe('a device that was removed and enrolled again', () => {
      const enrolledAgain = async () => {
        const serial = await fresh();
        await claim(serial);
        const frozen = await found(serial);
        await registry.retire(frozen, 'with-thing');
        expect(await registry.remove(await found(serial), now)).toBe(true);
        await fresh({}, serial);
        await claim(serial);
        expect(await found(serial)).toMatchObject({ attempt: frozen.attempt, state: 'provisioning' });
        return frozen;
      };

      it.each<[string, (frozen: Device) => Promise<boolean>]>([
        ['note a create call', (frozen) => registry.recordCreateIntent(frozen, { at: now })],
        [
          'record a certificate',
          async (frozen) =>
            (await registry.recordCertificate(frozen, { certificateId: 'd', keptReply })) === 'recorded',
        ],
        ['release the device', (frozen) => registry.release(frozen)],
        ['abandon its attempt', (frozen) => registry.abandonAttempt(frozen)],
        ['block it', (frozen) => registry.block(frozen)],
        ['reissue it', (frozen) => registry.reissue(frozen, { tokenHash: 'h' })],
        ['retire it', (frozen) => registry.retire(frozen, 'with-thing')],
        ['remove it', (frozen) => registry.remove(frozen, now)],
      ])('an attempt or a decision of the earlier row cannot %s', async (_what, write) => {
        const frozen = await enrolledAgain();
        const before = await registry.find(frozen.serial);
        expect(await write(frozen)).toBe(false);
        expect(await registry.find(frozen.serial)).toEqual(before);
      });

      it('an attempt of the earlier row cannot finish or discard a certificate that has the same id', async () => {
        const frozen = await enrolledAgain();
        await registry.recordCertificate(at(frozen.serial, 1), { certificateId: 'c', keptReply });
        expect(await registry.finish(frozen, 'c', now)).toBe(false);
        expect(await registry.discardCertificate(frozen, 'c')).toBe(false);
        expect(await found(frozen.serial)).toMatchObject({ certificateId: 'c', state: 'provisioning' });
      });
    });

    it('forgets no removed device whose thing went with it, until the sweep has looked for that thing', async () => {
      const serial = await fresh();
      await registry.retire(await found(serial), 'with-thing');
      expect(await registry.remove(await found(serial), now)).toBe(true);
      expect(await registry.find(serial)).toBeUndefined();
      expect(await claim(serial)).toEqual({ outcome: 'refused', problem: problems.invalidToken });
      expect(await registry.markForDeletion(serial, 'c')).toBe('no-row');
      for await (const device of registry.list()) expect(device.serial).not.toBe(serial);
      const removed = async () => {
        for await (const row of registry.listAll()) if (row.serial === serial) return row;
        return undefined;
      };
      const row = await removed();
      expect(row).toMatchObject({ removedAt: now });
      if (row) expect(await registry.forgetRemoved(row)).toBe(true);
      expect(await removed()).toBeUndefined();

      await fresh({}, serial);
      expect(row && (await registry.forgetRemoved(row))).toBe(false);
      expect(await registry.forgetRemoved(await found(serial))).toBe(false);
      expect(await registry.find(serial)).toBeDefined();
    });

    it('marks for deletion what no row names, and nothing else', async () => {
      const device = await registered();
      expect(await registry.markForDeletion(device.serial, 'c')).toBe('in-use');
      expect(await registry.markForDeletion('SN:unknown', 'c')).toBe('no-row');
      expect(await registry.find('SN:unknown')).toBeUndefined();
      for (const id of ['x', 'x', 'y']) expect(await registry.markForDeletion(device.serial, id)).toBe('marked');
      expect([...((await registry.find(device.serial))?.pendingDeletion ?? [])].sort()).toEqual(['x', 'y']);
      await registry.reissue(device, { tokenHash: 'h' });
      expect(await registry.markForDeletion(device.serial, 'c')).toBe('in-use');
      await registry.confirmDeleted('SN:unknown', 'x');
      expect(await registry.find('SN:unknown')).toBeUndefined();
    });

    it('keeps the row of a removed device until what it intended is resolved', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCreateIntent(at(serial, 1), { at: now });
      const read = await registry.find(serial);
      if (read) await registry.retire(read, 'with-thing');
      const retired = await registry.find(serial);
      if (retired === undefined) throw new Error('not found');
      expect(await registry.remove(retired, now)).toBe(false);
      await registry.clearCreateIntents(retired, createIntentsOf(retired));
      expect(await registry.remove(retired, now)).toBe(true);
    });

    it('removes a device only when nothing changed since it was read', async () => {
      const serial = await fresh();
      const read = await registry.find(serial);
      if (read === undefined) throw new Error('not found');
      await claim(serial);
      expect(await registry.remove(read, now)).toBe(false);
      const again = await registry.find(serial);
      expect(again && (await registry.remove(again, now))).toBe(true);
      expect(await registry.find(serial)).toBeUndefined();
    });

    it('lists every device', async () => {
      const serials = await Promise.all(Array.from({ length: 30 }, () => fresh()));
      const listed = new Set<string>();
      for await (const device of registry.list()) listed.add(device.serial);
      expect(serials.filter((serial) => !listed.has(serial))).toEqual([]);
    });
  });
}

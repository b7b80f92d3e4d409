import { describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import { keptReply, now, type RegistryFixture } from './registry-fixture.ts';

export function decisionsContract({ registry, fresh, claim, at, registered }: RegistryFixture): void {
  describe('decisions of operators and of the sweep', () => {
    it('blocks a device, whatever attempt is under way, and lets it back to where it was', async () => {
      const device = await registered();
      expect(await registry.block(device)).toBe(true);
      expect(await claim(device.serial)).toEqual({ outcome: 'refused', problem: problems.blocked });
      // the same decision, repeated since its answer was lost
      expect(await registry.block(device)).toBe(true);
      const blocked = await registry.find(device.serial);
      expect(blocked && (await registry.unblock(blocked))).toBe(true);
      expect(await registry.find(device.serial)).toMatchObject({ state: 'registered', certificateId: 'c' });
      // the row was read before another decision
      expect(await registry.block(device)).toBe(false);

      const serial = await fresh();
      await claim(serial);
      const applying = await registry.find(serial);
      expect(applying && (await registry.block(applying))).toBe(true);
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply })).toBe('overtaken');
      const stopped = await registry.find(serial);
      expect(stopped && (await registry.unblock(stopped))).toBe(true);
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed' });
    });

    it('reissues: the new token may apply, the old one is unknown, the certificate in use is kept until another one is finished', async () => {
      const device = await registered();
      const newHash = hashToken('the-new-token-of-the-device');
      const sealedKeys = { gateway: 'new' };
      expect(await registry.reissue(device, { tokenHash: newHash, tokenExpiresAt: now + 5, sealedKeys })).toBe(true);
      expect(await registry.find(device.serial)).toMatchObject({ sealedKeys });
      expect(await claim(device.serial)).toEqual({ outcome: 'refused', problem: problems.invalidToken });
      const claimed = await claim(device.serial, { tokenHash: newHash });
      expect(claimed).toMatchObject({
        outcome: 'claimed',
        device: { previousCertificateId: 'c', tokenExpiresAt: now + 5 },
      });
      if (claimed.outcome !== 'claimed') throw new Error('not claimed');
      expect(claimed.device).not.toHaveProperty('certificateId');
      await registry.recordCertificate(at(device.serial, claimed.device.attempt), { certificateId: 'd', keptReply });
      expect(await registry.finish(at(device.serial, claimed.device.attempt), 'd', now)).toBe(true);
      const done = await registry.find(device.serial);
      expect(done).toMatchObject({ certificateId: 'd', state: 'registered' });
      expect(done).not.toHaveProperty('previousCertificateId');
    });

    it('reissues only when nothing changed since the row was read', async () => {
      const device = await registered();
      await registry.block(device);
      expect(await registry.reissue(device, { tokenHash: 'h' })).toBe(false);
    });

    it('abandons an attempt that was not continued: it can write nothing more', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      const read = await registry.find(serial);
      if (read === undefined) throw new Error('not found');
      expect(await registry.abandonAttempt(read)).toBe(true);
      expect(await registry.abandonAttempt(read)).toBe(false);
      expect(await registry.finish(at(serial, 1), 'c', now)).toBe(false);
      expect(await registry.find(serial)).toMatchObject({ state: 'enrolled', attempt: 2, pendingDeletion: ['c'] });
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed' });
    });

    it('sees a certificate that was recorded after the row was read, and then decides nothing', async () => {
      const serial = await fresh();
      await claim(serial);
      const read = await registry.find(serial);
      if (read === undefined) throw new Error('not found');
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      expect(await registry.retire(read, 'with-thing')).toBe(false);
      expect(await registry.block(read)).toBe(false);
      expect(await registry.reissue(read, { tokenHash: 'h' })).toBe(false);
      expect(await registry.abandonAttempt(read)).toBe(false);
    });

    it('reissues in the middle of an attempt: its certificate is marked for deletion, the one that works keeps working', async () => {
      const device = await registered();
      await registry.reissue(device, { tokenHash: hashToken('second') });
      const claimed = await claim(device.serial, { tokenHash: hashToken('second') });
      if (claimed.outcome !== 'claimed') throw new Error('not claimed');
      await registry.recordCertificate(at(device.serial, claimed.device.attempt), { certificateId: 'd', keptReply });
      const half = await registry.find(device.serial);
      expect(half && (await registry.reissue(half, { tokenHash: hashToken('third') }))).toBe(true);
      const row = await registry.find(device.serial);
      expect(row).toMatchObject({ previousCertificateId: 'c', pendingDeletion: ['d'], state: 'enrolled' });
      expect(row).not.toHaveProperty('certificateId');
    });

    it('retires a device with all its certificates; the row goes when they have gone', async () => {
      const device = await registered();
      await registry.reissue(device, { tokenHash: hashToken('second') });
      const reissued = await registry.find(device.serial);
      expect(reissued && (await registry.retire(reissued, 'keep-thing'))).toBe(true);
      const retired = await registry.find(device.serial);
      if (retired === undefined) throw new Error('not found');
      expect(retired).toMatchObject({ state: 'blocked', pendingDeletion: ['c'], removal: 'keep-thing' });
      expect(retired).not.toHaveProperty('previousCertificateId');
      expect(await registry.unblock(retired)).toBe(false);
      expect(await registry.remove(retired, now)).toBe(false);
      await registry.confirmDeleted(device.serial, 'c');
      expect(await registry.remove(retired, now)).toBe(true);
    });
  });
}

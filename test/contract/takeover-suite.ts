import { describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import type { Device } from '../../registry/device.ts';
import { now, type RegistryFixture, tokenHash, unstamped } from './registry-fixture.ts';

export function takeoverContract({ registry, fresh, found, claim }: RegistryFixture): void {
  describe('taking over rows that another tool wrote', () => {
    const row = { tokenHash, requestedAt: now - 5, enrolledAt: now, attempt: 0, mayHaveOthers: true } as const;
    const taken: readonly Device[] = [
      { ...row, serial: 'TAKEN:1', state: 'registered', certificateId: 'c', issuedAt: now - 5 },
      { ...row, serial: 'TAKEN:2', state: 'blocked', certificateId: 'd', issuedAt: now - 5 },
      { ...row, serial: 'TAKEN:3', state: 'enrolled', previousCertificateId: 'e', policyName: 'p' },
    ];

    it('adds a device in the state that it has, and never overwrites one', async () => {
      for (const device of taken) {
        expect(await registry.takeOver(device)).toBe(true);
        expect(unstamped(await found(device.serial))).toEqual(device);
        // the same call, repeated since its answer was lost
        expect(await registry.takeOver(device)).toBe(true);
        expect(await registry.takeOver({ ...device, enrolledAt: now + 1, state: 'enrolled' })).toBe(false);
        expect(unstamped(await found(device.serial))).toEqual(device);
      }
      const serial = await fresh();
      expect(await registry.takeOver({ ...row, serial, enrolledAt: now + 1, state: 'registered' })).toBe(false);
      expect(await found(serial)).toMatchObject({ state: 'enrolled' });
    });

    it('hashes a token in place while the row has that token and that certificate, and changes nothing else', async () => {
      const clear = 'kept-in-clear-by-another-tool';
      const serial = await fresh({ tokenHash: clear, policyName: 'p' });
      const device = await found(serial);
      const hashed = { tokenHash: hashToken(clear), sealedKeys: { gateway: 'keys' } };
      expect(await registry.hashToken(device, 'another', hashed)).toBe(false);
      expect(await registry.hashToken({ ...device, certificateId: 'c' }, clear, hashed)).toBe(false);
      expect(await registry.hashToken({ ...device, serial: 'TAKEN:none' }, clear, hashed)).toBe(false);
      expect(await claim(serial, { tokenHash: hashToken(clear) })).toMatchObject({ outcome: 'refused' });
      for (const _repeated of [1, 2]) expect(await registry.hashToken(device, clear, hashed)).toBe(true);
      const { tokenForm: _read, ...rest } = device;
      expect(unstamped(await found(serial))).toEqual({ ...unstamped(rest), ...hashed });
      expect(await claim(serial, { tokenHash: hashToken(clear) })).toMatchObject({ outcome: 'claimed' });
    });
  });
}

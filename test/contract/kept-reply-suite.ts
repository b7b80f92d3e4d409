import { describe, expect, it } from 'vitest';
import { hashToken } from '../../protocol/token.ts';
import type { Device } from '../../registry/device.ts';
import { keptReply, leaseMs, now, type RegistryFixture, tokenHash } from './registry-fixture.ts';

export function keptReplyContract({
  registry,
  fresh,
  found,
  claim,
  at,
  registered,
  withoutReply,
}: RegistryFixture): void {
  describe('the reply that a row keeps', () => {
    it('remembers when a certificate was issued and for which key', async () => {
      const device = await registered();
      expect(device).toMatchObject({ issuedAt: now, keyDigest: `key of ${device.serial}` });
    });

    it('forgets the key of a certificate that another without a CSR replaces', async () => {
      const device = await withoutReply();
      const { serial } = device;
      const reopened = await registry.reopen(device, { serial, tokenHash, now, leaseMs });
      if (reopened.outcome !== 'claimed') throw new Error('not reopened');
      await registry.recordCertificate(reopened.device, { certificateId: 'd', keptReply });
      expect(await registry.find(serial)).not.toHaveProperty('keyDigest');
    });

    it('reopens a registered device once, of however many ask at once', async () => {
      const device = await withoutReply();
      const again = () => registry.reopen(device, { serial: device.serial, tokenHash, now, leaseMs });
      const outcomes = await Promise.all([again(), again(), again()]);
      expect(outcomes.filter(({ outcome }) => outcome === 'claimed')).toEqual([
        {
          outcome: 'claimed',
          device: expect.objectContaining({ attempt: 2, certificateId: 'c', state: 'provisioning' }),
        },
      ]);
      expect(await registry.finish(at(device.serial, 1), 'c', now)).toBe(false);
    });

    it('takes an acknowledgement of the right token and certificate only, as often as it comes', async () => {
      const { serial } = await registered();
      expect(await registry.acknowledge(serial, hashToken('x'), 'c', now)).toBe(false);
      expect(await registry.acknowledge(serial, tokenHash, 'other', now)).toBe(false);
      expect(await registry.acknowledge('SN:unknown', tokenHash, 'c', now)).toBe(false);
      expect(await registry.acknowledge(serial, tokenHash, 'c', now + 1)).toBe(true);
      expect(await registry.acknowledge(serial, tokenHash, 'c', now + 2)).toBe(true);
      expect(await registry.find(serial)).toMatchObject({ deliveredAt: now + 1 });
    });

    it('lets the request that reopened a device take it up again', async () => {
      const device = await withoutReply();
      const request = { serial: device.serial, tokenHash, now, leaseMs, claimedBy: 'ask-1' };
      await registry.reopen(device, request);
      expect(await registry.claim({ ...request, claimedBy: 'ask-2' })).toMatchObject({ outcome: 'busy' });
      expect(await registry.claim({ ...request, now: now + 0.3 * leaseMs })).toMatchObject({
        outcome: 'claimed',
        device: { attempt: 3, certificateId: 'c' },
      });
    });

    it('never reopens a device that acknowledged, or whose row has its reply', async () => {
      const withReply = await registered();
      const request = { serial: withReply.serial, tokenHash, now, leaseMs };
      expect(await registry.reopen(withReply, request)).toMatchObject({ outcome: 'busy' });
      const device = await withoutReply();
      await registry.acknowledge(device.serial, tokenHash, 'c', now);
      expect(await registry.reopen(device, { serial: device.serial, tokenHash, now, leaseMs })).toMatchObject({
        outcome: 'busy',
      });
    });

    it('keeps the reply with the certificate until the device acknowledges', async () => {
      const { serial } = await registered();
      expect(await found(serial)).toMatchObject({ certificateId: 'c', keptReply });
      await registry.acknowledge(serial, tokenHash, 'c', now);
      expect(await registry.find(serial)).not.toHaveProperty('keptReply');
    });

    it('drops the reply with its certificate: when that is discarded, abandoned, reissued or retired', async () => {
      const half = async () => {
        const serial = await fresh();
        await claim(serial);
        await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
        return found(serial);
      };
      const ways: ((device: Device) => Promise<boolean>)[] = [
        (device) => registry.discardCertificate(device, 'c'),
        (device) => registry.abandonAttempt(device),
        (device) => registry.reissue(device, { tokenHash: 'h' }),
        (device) => registry.retire(device, 'with-thing'),
      ];
      for (const drop of ways) {
        const device = await half();
        expect(await drop(device)).toBe(true);
        expect(await registry.find(device.serial)).not.toHaveProperty('keptReply');
      }
    });

    it('erases a reply only while the row is as it was read', async () => {
      const device = await registered();
      await registry.block(device);
      expect(await registry.eraseKeptReply(device)).toBe(false);
      expect(await found(device.serial)).toMatchObject({ keptReply });
    });
  });
}

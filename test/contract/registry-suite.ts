import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import type { ClaimRequest, Registry } from '../../registry/registry.ts';

const [tokenHash, now, leaseMs] = [hashToken('the-right-token-of-the-device'), 1_700_000_000_000, 10_000];

/** The promises of the port, for every adapter. */
export function registryContract(
  name: string,
  open: () => Promise<{ registry: Registry; close(): Promise<void> }>,
): void {
  describe(`registry contract: ${name}`, () => {
    let registry: Registry;
    let close: () => Promise<void>;
    let count = 0;
    beforeAll(async () => {
      ({ registry, close } = await open());
    });
    afterAll(() => close());

    const fresh = async (extra: object = {}) => {
      const serial = `SN:${++count}`;
      expect(await registry.enrol({ serial, tokenHash, enrolledAt: now, ...extra })).toBe(true);
      return serial;
    };
    const claim = (serial: string, change: Partial<ClaimRequest> = {}) =>
      registry.claim({ serial, tokenHash, now, leaseMs, ...change });

    it('enrols a device once, and never overwrites it', async () => {
      const serial = await fresh({ policyName: 'one' });
      expect(await registry.enrol({ serial, tokenHash: 'other', enrolledAt: 1, policyName: 'two' })).toBe(false);
      expect(await registry.find(serial)).toEqual({
        serial,
        tokenHash,
        applyState: 0,
        requestedAt: 0,
        enrolledAt: now,
        attempt: 0,
        policyName: 'one',
      });
    });

    it('keeps everything that a device was enrolled with', async () => {
      const extra = { tokenExpiresAt: now + 5, policyName: 'p', thingTypeName: 't', thingGroupName: 'g' };
      expect(await registry.find(await fresh(extra))).toMatchObject(extra);
    });

    it('lets one of twenty claims at once win', async () => {
      const serial = await fresh();
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => claim(serial)));
      expect(outcomes.filter(({ outcome }) => outcome === 'claimed')).toHaveLength(1);
      expect(outcomes.filter(({ outcome }) => outcome === 'busy')).toHaveLength(19);
    });

    it('refuses an unknown serial and a wrong token in the same way, and makes no row', async () => {
      const unknown = await claim('SN:unknown');
      expect(unknown).toEqual({ outcome: 'refused', problem: problems.invalidToken });
      expect(await claim(await fresh(), { tokenHash: hashToken('x') })).toEqual(unknown);
      expect(await registry.find('SN:unknown')).toBeUndefined();
    });

    it('refuses an expired token, to the millisecond', async () => {
      const serial = await fresh({ tokenExpiresAt: now });
      expect(await claim(serial)).toEqual({ outcome: 'refused', problem: problems.tokenExpired });
      expect(await claim(serial, { now: now - 1 })).toMatchObject({ outcome: 'claimed' });
    });

    it('is busy until the lease ends; then the next attempt has a higher number', async () => {
      const serial = await fresh();
      expect(await claim(serial)).toMatchObject({
        outcome: 'claimed',
        device: { attempt: 1, applyState: 1, requestedAt: now, leaseUntil: now + leaseMs },
      });
      expect(await claim(serial, { now: now + leaseMs - 1 })).toEqual({ outcome: 'busy', until: now + leaseMs });
      expect(await claim(serial, { now: now + leaseMs })).toMatchObject({ outcome: 'claimed', device: { attempt: 2 } });
    });

    it('lets the same question take up its attempt again at once, under a higher number, and no other question', async () => {
      const serial = await fresh();
      await claim(serial, { claimant: 'ask-1' });
      expect(await claim(serial, { claimant: 'ask-2' })).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial)).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial, { claimant: 'ask-1' })).toMatchObject({ outcome: 'claimed', device: { attempt: 2 } });
      expect(await registry.record(serial, 1, 'c')).toBe(false);
    });

    it('lets an attempt that was overtaken neither record, finish nor release', async () => {
      const serial = await fresh();
      await claim(serial);
      await claim(serial, { now: now + leaseMs });
      expect(await registry.record(serial, 1, 'cert')).toBe(false);
      expect(await registry.finish(serial, 1, 'cert', now)).toBe(false);
      expect(await registry.release(serial, 1)).toBe(false);
      expect(await registry.find(serial)).toMatchObject({ applyState: 1, attempt: 2 });
    });

    it('hands the next attempt what an earlier one recorded', async () => {
      const serial = await fresh();
      await claim(serial);
      expect(await registry.record(serial, 1, 'cert-1')).toBe(true);
      expect(await claim(serial, { now: now + leaseMs })).toMatchObject({
        outcome: 'claimed',
        device: { certificateId: 'cert-1' },
      });
    });

    it('finishes with the recorded certificate only', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.record(serial, 1, 'cert-1');
      expect(await registry.finish(serial, 1, 'cert-2', now)).toBe(false);
      expect(await registry.finish(serial, 1, 'cert-1', now)).toBe(true);
      expect(await registry.find(serial)).toMatchObject({ applyState: -1, certificateId: 'cert-1' });
    });

    it('answers a repeated record and finish as the first time', async () => {
      const serial = await fresh();
      await claim(serial);
      expect([await registry.record(serial, 1, 'c'), await registry.record(serial, 1, 'c')]).toEqual([true, true]);
      expect([await registry.finish(serial, 1, 'c', now), await registry.finish(serial, 1, 'c', now)]).toEqual([
        true,
        true,
      ]);
    });

    it('tells a registered device from a stranger by its token alone', async () => {
      const serial = await fresh({ tokenExpiresAt: now + 1 });
      await claim(serial);
      await registry.record(serial, 1, 'c');
      await registry.finish(serial, 1, 'c', now);
      expect(await claim(serial, { now: now + 100_000 })).toMatchObject({
        outcome: 'registered',
        device: { certificateId: 'c' },
      });
      expect(await claim(serial, { tokenHash: hashToken('x') })).toEqual({
        outcome: 'refused',
        problem: problems.invalidToken,
      });
      expect(await registry.record(serial, 1, 'other')).toBe(false);
    });

    it('gives the right back at once when an attempt is released, and keeps its certificate', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.record(serial, 1, 'c');
      expect(await registry.release(serial, 1)).toBe(true);
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed', device: { attempt: 2, certificateId: 'c' } });
    });

    const registered = async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.record(serial, 1, 'c', 'digest');
      await registry.finish(serial, 1, 'c', now);
      const device = await registry.find(serial);
      if (device === undefined) throw new Error('not found');
      return device;
    };

    it('remembers when a certificate was issued and for which key', async () => {
      expect(await registered()).toMatchObject({ issuedAt: now, keyDigest: 'digest' });
    });

    it('forgets the key of a certificate that another without a CSR replaces', async () => {
      const { serial } = await registered();
      const device = await registry.find(serial);
      if (device) await registry.reopen(device, { serial, tokenHash, now, leaseMs });
      await registry.record(serial, 2, 'd');
      expect(await registry.find(serial)).not.toHaveProperty('keyDigest');
    });

    it('reopens a registered device once, of however many ask at once', async () => {
      const device = await registered();
      const again = () => registry.reopen(device, { serial: device.serial, tokenHash, now, leaseMs });
      const outcomes = await Promise.all([again(), again(), again()]);
      expect(outcomes.filter(({ outcome }) => outcome === 'claimed')).toEqual([
        { outcome: 'claimed', device: expect.objectContaining({ attempt: 2, certificateId: 'c', applyState: 1 }) },
      ]);
      expect(await registry.finish(device.serial, 1, 'c', now)).toBe(false);
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

    it('lets the question that reopened a device take it up again', async () => {
      const device = await registered();
      const request = { serial: device.serial, tokenHash, now, leaseMs, claimant: 'ask-1' };
      await registry.reopen(device, request);
      expect(await registry.claim({ ...request, claimant: 'ask-2' })).toMatchObject({ outcome: 'busy' });
      expect(await registry.claim(request)).toMatchObject({
        outcome: 'claimed',
        device: { attempt: 3, certificateId: 'c' },
      });
    });

    it('never reopens a device that acknowledged', async () => {
      const device = await registered();
      await registry.acknowledge(device.serial, tokenHash, 'c', now);
      expect(await registry.reopen(device, { serial: device.serial, tokenHash, now, leaseMs })).toMatchObject({
        outcome: 'busy',
      });
    });

    it('blocks a device, whatever attempt is under way, and lets it back to where it was', async () => {
      const device = await registered();
      expect(await registry.block(device)).toBe(true);
      expect(await claim(device.serial)).toEqual({ outcome: 'refused', problem: problems.blocked });
      expect(await registry.block(device)).toBe(false);
      const blocked = await registry.find(device.serial);
      expect(blocked && (await registry.unblock(blocked))).toBe(true);
      expect(await registry.find(device.serial)).toMatchObject({ applyState: -1, certificateId: 'c' });

      const serial = await fresh();
      await claim(serial);
      const applying = await registry.find(serial);
      expect(applying && (await registry.block(applying))).toBe(true);
      expect(await registry.record(serial, 1, 'c')).toBe(false);
      const stopped = await registry.find(serial);
      expect(stopped && (await registry.unblock(stopped))).toBe(true);
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed' });
    });

    it('reissues: the new token may apply, the old one is nobody, the certificate in use is remembered until another is finished', async () => {
      const device = await registered();
      const newHash = hashToken('the-new-token-of-the-device');
      expect(await registry.reissue(device, newHash, now + 5)).toBe(true);
      expect(await claim(device.serial)).toEqual({ outcome: 'refused', problem: problems.invalidToken });
      const claimed = await claim(device.serial, { tokenHash: newHash });
      expect(claimed).toMatchObject({
        outcome: 'claimed',
        device: { previousCertificateId: 'c', tokenExpiresAt: now + 5 },
      });
      if (claimed.outcome !== 'claimed') throw new Error('not claimed');
      expect(claimed.device).not.toHaveProperty('certificateId');
      await registry.record(device.serial, claimed.device.attempt, 'd');
      expect(await registry.finish(device.serial, claimed.device.attempt, 'd', now)).toBe(true);
      const done = await registry.find(device.serial);
      expect(done).toMatchObject({ certificateId: 'd', applyState: -1 });
      expect(done).not.toHaveProperty('previousCertificateId');
    });

    it('reissues only when nothing changed since the row was read', async () => {
      const device = await registered();
      await registry.block(device);
      expect(await registry.reissue(device, 'h')).toBe(false);
    });

    it('removes a device only when nothing changed since it was read', async () => {
      const serial = await fresh();
      const read = await registry.find(serial);
      if (read === undefined) throw new Error('not found');
      await claim(serial);
      expect(await registry.remove(read)).toBe(false);
      const again = await registry.find(serial);
      expect(again && (await registry.remove(again))).toBe(true);
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

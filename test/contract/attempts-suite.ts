import { describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import { createIntentsOf, ownIntentsOf } from '../../registry/create-intents.ts';
import type { CreateIntent, OwnKey } from '../../registry/device.ts';
import { keptReply, leaseMs, now, type RegistryFixture, tokenHash, unstamped } from './registry-fixture.ts';

export function attemptsContract({ registry, fresh, found, claim, at, registered }: RegistryFixture): void {
  const records = async (...given: Parameters<typeof registry.recordCertificate>) =>
    (await registry.recordCertificate(...given)) === 'recorded';

  describe('attempts at a certificate', () => {
    it('enrols a device once, and never overwrites it', async () => {
      const serial = await fresh({ policyName: 'one' });
      expect(await registry.enrol({ serial, tokenHash: 'other', enrolledAt: 1, policyName: 'two' })).toBe(false);
      expect(unstamped(await found(serial))).toEqual({
        serial,
        tokenHash,
        state: 'enrolled',
        requestedAt: 0,
        enrolledAt: now,
        attempt: 0,
        policyName: 'one',
      });
    });

    it('keeps everything that a device was enrolled with', async () => {
      const sealedKeys = { '0123456789abcdef': 'sealed', fedcba9876543210: 'sealed too' };
      const extra = { tokenExpiresAt: now + 5, sealedKeys, policyName: 'p', thingTypeName: 't', thingGroupName: 'g' };
      expect(await registry.find(await fresh(extra))).toMatchObject(extra);
    });

    it('knows no device by a name that no row can have', async () => {
      for (const serial of ['', 'x'.repeat(2049), 'ä'.repeat(1025)])
        expect(await registry.find(serial)).toBeUndefined();
    });

    it('lets one of twenty claims at once win', async () => {
      const serial = await fresh();
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => claim(serial)));
      expect(outcomes.filter(({ outcome }) => outcome === 'claimed')).toHaveLength(1);
      expect(outcomes.filter(({ outcome }) => outcome === 'busy')).toHaveLength(19);
    });

    it('takes a lease for over that ends later than any lease can, as after a clock that was ahead', async () => {
      const serial = await fresh();
      expect(await claim(serial, { now: now + 7_200_000, claimedBy: 'ahead' })).toMatchObject({ outcome: 'claimed' });
      // clocks that differ by less than a lease are usual
      expect(await claim(serial, { now: now + 7_200_000 - leaseMs, claimedBy: 'other' })).toMatchObject({
        outcome: 'busy',
      });
      expect(await claim(serial, { claimedBy: 'right' })).toMatchObject({ outcome: 'claimed', device: { attempt: 2 } });
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
        device: { attempt: 1, state: 'provisioning', requestedAt: now, leaseUntil: now + leaseMs },
      });
      expect(await claim(serial, { now: now + leaseMs - 1 })).toEqual({ outcome: 'busy', until: now + leaseMs });
      expect(await claim(serial, { now: now + leaseMs })).toMatchObject({ outcome: 'claimed', device: { attempt: 2 } });
    });

    it('lets the same request take up its attempt again before the lease is over, but not at once, and no other request', async () => {
      const serial = await fresh();
      await claim(serial, { claimedBy: 'ask-1' });
      expect(await claim(serial, { claimedBy: 'ask-2' })).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial)).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial, { claimedBy: 'ask-1' })).toMatchObject({ outcome: 'busy' });
      const later = now + 0.3 * leaseMs;
      expect(await claim(serial, { claimedBy: 'ask-1', now: later - 1 })).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial, { claimedBy: 'ask-2', now: later })).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial, { claimedBy: 'ask-1', now: later })).toMatchObject({
        outcome: 'claimed',
        device: { attempt: 2 },
      });
      expect(await records(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
    });

    describe('an attempt that a later one has overtaken', () => {
      const overtaken = async () => {
        const serial = await fresh();
        await claim(serial);
        await registry.recordCreateIntent(at(serial, 1), { at: now });
        await registry.recordCertificate(at(serial, 1), { certificateId: 'cert', keptReply });
        await claim(serial, { now: now + leaseMs });
        return serial;
      };

      // each of these holds for the attempt that is the latest: only the fence stands in the way
      it.each<[string, (serial: string, attempt: number) => Promise<boolean>]>([
        ['note a create call', (serial, attempt) => registry.recordCreateIntent(at(serial, attempt), { at: now + 1 })],
        ['record a certificate', (serial, attempt) => records(at(serial, attempt), { certificateId: 'd', keptReply })],
        [
          'record a certificate for a key',
          (serial, attempt) =>
            records(at(serial, attempt), { certificateId: 'd', keptReply, keyDigest: `key of ${serial}` }),
        ],
        ['discard the certificate', (serial, attempt) => registry.discardCertificate(at(serial, attempt), 'cert')],
        ['finish', (serial, attempt) => registry.finish(at(serial, attempt), 'cert', now)],
        ['release the device', (serial, attempt) => registry.release(at(serial, attempt))],
      ])('cannot %s', async (_what, write) => {
        const serial = await overtaken();
        const before = await registry.find(serial);
        expect(await write(serial, 1)).toBe(false);
        expect(await registry.find(serial)).toEqual(before);
        expect(await write(serial, 2)).toBe(true);
      });
    });

    it('lets no attempt write any more that is finished, released or blocked', async () => {
      const finished = (await registered()).serial;
      const released = await fresh();
      await claim(released);
      await registry.release(at(released, 1));
      for (const serial of [finished, released]) {
        const before = await registry.find(serial);
        expect(await registry.recordCreateIntent(at(serial, 1), { at: now })).toBe(false);
        expect(await records(at(serial, 1), { certificateId: 'd', keptReply })).toBe(false);
        expect(await registry.discardCertificate(at(serial, 1), 'c')).toBe(false);
        expect(await registry.release(at(serial, 1))).toBe(false);
        expect(await registry.find(serial)).toEqual(before);
      }
    });

    it('hands the next attempt what an earlier one recorded', async () => {
      const serial = await fresh();
      await claim(serial);
      expect(await records(at(serial, 1), { certificateId: 'cert-1', keptReply })).toBe(true);
      expect(await claim(serial, { now: now + leaseMs })).toMatchObject({
        outcome: 'claimed',
        device: { certificateId: 'cert-1' },
      });
    });

    it('finishes with the recorded certificate only', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'cert-1', keptReply });
      expect(await registry.finish(at(serial, 1), 'cert-2', now)).toBe(false);
      expect(await registry.finish(at(serial, 1), 'cert-1', now)).toBe(true);
      expect(await registry.find(serial)).toMatchObject({ state: 'registered', certificateId: 'cert-1' });
    });

    it('answers a repeated record and finish as the first time', async () => {
      const serial = await fresh();
      await claim(serial);
      expect([
        await records(at(serial, 1), { certificateId: 'c', keptReply }),
        await records(at(serial, 1), { certificateId: 'c', keptReply }),
      ]).toEqual([true, true]);
      expect([await registry.finish(at(serial, 1), 'c', now), await registry.finish(at(serial, 1), 'c', now)]).toEqual([
        true,
        true,
      ]);
    });

    it('tells a registered device from a stranger by its token alone', async () => {
      const serial = await fresh({ tokenExpiresAt: now + 1 });
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      await registry.finish(at(serial, 1), 'c', now);
      expect(await claim(serial, { now: now + 100_000 })).toMatchObject({
        outcome: 'registered',
        device: { certificateId: 'c' },
      });
      expect(await claim(serial, { tokenHash: hashToken('x') })).toEqual({
        outcome: 'refused',
        problem: problems.invalidToken,
      });
      expect(await records(at(serial, 1), { certificateId: 'other', keptReply })).toBe(false);
    });

    it('gives the right back at once when an attempt is released, and keeps its certificate', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      expect(await registry.release(at(serial, 1))).toBe(true);
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed', device: { attempt: 2, certificateId: 'c' } });
    });

    it('notes the template by which a certificate was asked for, until there is another certificate or none', async () => {
      const serial = await fresh();
      await claim(serial);
      const template = { name: 'pump', digest: 'd1' };
      const record = (certificateId: string, by: object) =>
        registry.recordCertificate(at(serial, 1), { certificateId, keptReply, ...by });
      expect(await record('c', { template })).toBe('recorded');
      expect(await found(serial)).toMatchObject({ certificateId: 'c', template });
      expect(await record('d', {})).toBe('recorded');
      expect(await found(serial)).not.toHaveProperty('template');
      await record('e', { template });
      expect(await registry.discardCertificate(at(serial, 1), 'e')).toBe(true);
      expect(await found(serial)).not.toHaveProperty('template');
    });

    describe('the public key of a CSR', () => {
      const claimed = async () => {
        const serial = await fresh();
        await claim(serial);
        return serial;
      };
      const record = (serial: string, keyDigest: string, certificateId = `of ${serial}`) =>
        registry.recordCertificate(at(serial, 1), { certificateId, keptReply, keyDigest });

      it('belongs to the device that records a certificate for it first, until that is removed', async () => {
        const [one, other] = [await claimed(), await claimed()];
        const key = `key of ${one}`;
        expect(await registry.keyHolder(key)).toBeUndefined();
        expect([await record(one, key), await record(one, key)]).toEqual(['recorded', 'recorded']);
        expect(await found(one)).toMatchObject({ certificateId: `of ${one}`, keyDigest: key });
        const before = await found(other);
        expect(await record(other, key)).toBe('key-taken');
        expect(await found(other)).toEqual(before);
        expect(await registry.keyHolder(key)).toBe(one);
        expect(await record(other, `${key}!`)).toBe('recorded');
        expect(await registry.remove(await found(one), now)).toBe(true);
        expect(await registry.keyHolder(key)).toBeUndefined();
        expect([await record(other, key), await record(other, key)]).toEqual(['recorded', 'recorded']);
        expect(await registry.keyHolder(key)).toBe(other);
      });

      it('is given to one of several devices that record it at once', async () => {
        const serials = await Promise.all(Array.from({ length: 4 }, claimed));
        const key = `key of ${serials[0]}`;
        const outcomes = await Promise.all(serials.map((serial) => record(serial, key)));
        expect(outcomes.filter((outcome) => outcome === 'recorded')).toHaveLength(1);
        expect(outcomes.filter((outcome) => outcome === 'key-taken')).toHaveLength(3);
        const rows = await Promise.all(serials.map(found));
        const named = rows.filter(({ certificateId }) => certificateId !== undefined);
        expect(named.map(({ serial }) => serial)).toEqual([await registry.keyHolder(key)]);
      });

      it('is tied to no device whose attempt was overtaken', async () => {
        const serial = await claimed();
        await claim(serial, { now: now + leaseMs });
        expect(await record(serial, `key of ${serial}`)).toBe('overtaken');
        expect(await registry.keyHolder(`key of ${serial}`)).toBeUndefined();
      });
    });

    it('notes what an attempt is about to create, and hands it to the next one until it is recorded', async () => {
      const serial = await fresh();
      await claim(serial);
      expect(await registry.recordCreateIntent(at(serial, 1), { at: now, keyDigest: 'k' })).toBe(true);
      expect(await registry.recordCreateIntent(at(serial, 2), { at: now })).toBe(false);
      const next = await claim(serial, { now: now + leaseMs });
      expect(next.outcome === 'claimed' && createIntentsOf(next.device)).toEqual([
        { id: at(serial, 1).claimId, at: now, keyDigest: 'k' },
      ]);
      expect(await registry.recordCreateIntent(at(serial, 1), { at: now })).toBe(false);
      expect(await registry.recordCreateIntent(at(serial, 2), { at: now + 1 })).toBe(true);
      const settled = [{ id: at(serial, 1).claimId ?? '', at: now, keyDigest: 'k' }];
      const recorded = { certificateId: 'c', keptReply, settled };
      expect(await records(at(serial, 2), recorded)).toBe(true);
      expect(await records(at(serial, 2), recorded)).toBe(true);
      expect(createIntentsOf(await found(serial))).toEqual([{ id: at(serial, 2).claimId, at: now + 1 }]);
    });

    it('knows and forgets a create intent at a fraction of a millisecond, as by a clock that was corrected', async () => {
      const serial = await fresh();
      await claim(serial);
      const intent = { id: at(serial, 1).claimId ?? '', at: now + 0.25, keyDigest: 'k' };
      expect(await registry.recordCreateIntent(at(serial, 1), { at: intent.at, keyDigest: 'k' })).toBe(true);
      expect(createIntentsOf(await found(serial))).toContainEqual(intent);
      expect(await records(at(serial, 1), { certificateId: 'c', keptReply, settled: [intent] })).toBe(true);
      expect(createIntentsOf(await found(serial))).not.toContainEqual(intent);
    });

    it('notes with the claim what is to be created, and with which key of the gateway: an earlier key stays', async () => {
      const serial = await fresh();
      const [first, second] = ['k', 'l'].map((keyDigest) => ({ csrPem: 'CSR', keyDigest, sealedKey: 'sealed' }));
      const claimed = await claim(serial, { intends: { keyDigest: 'k', ownKey: first as OwnKey } });
      expect(claimed).toMatchObject({ device: { ownKey: first } });
      expect(ownIntentsOf(await found(serial))).toEqual([{ id: at(serial, 1).claimId, at: now, keyDigest: 'k' }]);
      const later = now + leaseMs;
      await claim(serial, { now: later, intends: { keyDigest: 'l', ownKey: second as OwnKey } });
      const row = await found(serial);
      expect(row).toMatchObject({ ownKey: first });
      expect(ownIntentsOf(row)).toEqual([{ id: at(serial, 2).claimId, at: later, keyDigest: 'l' }]);
      await registry.recordCertificate(at(serial, 2), { certificateId: 'c', keptReply, settled: ownIntentsOf(row) });
      await registry.finish(at(serial, 2), 'c', now, createIntentsOf(row));
      const finished = await found(serial);
      expect([finished.ownKey, createIntentsOf(finished)]).toEqual([undefined, []]);
    });

    it('notes nothing of a claim that does not take effect', async () => {
      const serial = await fresh();
      await claim(serial, { claimedBy: 'one' });
      for (const refused of [{}, { tokenHash: hashToken('x') }])
        await claim(serial, { ...refused, claimedBy: 'two', intends: { keyDigest: 'k' } });
      expect(createIntentsOf(await found(serial))).toEqual([]);
    });

    it('forgets a create call that certainly made nothing', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCreateIntent(at(serial, 1), { at: now });
      expect(await registry.release(at(serial, 1), ownIntentsOf(await found(serial)))).toBe(true);
      expect(createIntentsOf(await found(serial))).toEqual([]);
    });

    it('remembers a bounded number of create calls, the latest ones', async () => {
      const serial = await fresh();
      for (let attempt = 1; attempt <= 203; attempt++) {
        await claim(serial, { now: now + attempt * leaseMs, intends: {} });
      }
      const times = createIntentsOf(await found(serial)).map((intent) => intent.at);
      expect(times).toHaveLength(200);
      expect(Math.min(...times)).toBe(now + 4 * leaseMs);
      expect(await registry.recordCreateIntent(at(serial, 202), { at: now })).toBe(false);
    });

    it('clears create intents, and only while no other decision was written', async () => {
      const serial = await fresh();
      for (const attempt of [1, 2]) {
        await claim(serial, { now: now + attempt * leaseMs });
        await registry.recordCreateIntent(at(serial, attempt), { at: now });
      }
      const read = await registry.find(serial);
      if (read === undefined) throw new Error('not found');
      const [first, second] = [1, 2].map((attempt) => ({ id: at(serial, attempt).claimId ?? '', at: now }));
      expect(await registry.clearCreateIntents(read, [first as CreateIntent])).toBe(true);
      expect(createIntentsOf(await found(serial))).toEqual([second]);
      await claim(serial, { now: now + 3 * leaseMs });
      expect(await registry.clearCreateIntents(read, [second as CreateIntent])).toBe(false);
    });

    it('discards the certificate of an attempt for good: it is marked for deletion, and cannot be recorded again', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      expect(await registry.discardCertificate(at(serial, 1), 'other')).toBe(false);
      expect(await registry.discardCertificate(at(serial, 2), 'c')).toBe(false);
      expect([
        await registry.discardCertificate(at(serial, 1), 'c'),
        await registry.discardCertificate(at(serial, 1), 'c'),
      ]).toEqual([true, true]);
      const row = await registry.find(serial);
      expect(row).toMatchObject({ pendingDeletion: ['c'] });
      expect(row).not.toHaveProperty('certificateId');
      expect(await records(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
      expect(await records(at(serial, 1), { certificateId: 'd', keptReply })).toBe(true);
      await registry.confirmDeleted(serial, 'c');
      expect(await registry.find(serial)).not.toHaveProperty('pendingDeletion');
      // this attempt may have found it before it was deleted
      expect(await records(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
      await claim(serial, { now: now + leaseMs });
      expect(await registry.find(serial)).not.toHaveProperty('deleted');
    });
  });
}

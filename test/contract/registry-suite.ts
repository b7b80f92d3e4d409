import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { problems } from '../../protocol/problems.ts';
import { hashToken } from '../../protocol/token.ts';
import type { ClaimRequest } from '../../registry/attempts.ts';
import type { AttemptRef, Device } from '../../registry/device.ts';
import type { Registry } from '../../registry/registry.ts';

const keptReply = Buffer.from('sealed').toString('base64url');
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

    const claimIds = new Map<string, string | undefined>();
    const fresh = async (extra: object = {}, serial = `SN:${++count}`) => {
      expect(await registry.enrol({ serial, tokenHash, enrolledAt: now, ...extra })).toBe(true);
      return serial;
    };
    /** An attempt that was claimed before. */
    const at = (serial: string, attempt: number): AttemptRef => ({
      serial,
      attempt,
      claimId: claimIds.get(`${serial} ${attempt}`) ?? 'none',
    });
    const found = async (serial: string): Promise<Device> => {
      const device = await registry.find(serial);
      if (device === undefined) throw new Error(`${serial} is not there`);
      return device;
    };
    const claim = async (serial: string, change: Partial<ClaimRequest> = {}) => {
      const claimed = await registry.claim({ serial, tokenHash, now, leaseMs, ...change });
      if (claimed.outcome === 'claimed') claimIds.set(`${serial} ${claimed.device.attempt}`, claimed.device.claimId);
      return claimed;
    };

    it('enrols a device once, and never overwrites it', async () => {
      const serial = await fresh({ policyName: 'one' });
      expect(await registry.enrol({ serial, tokenHash: 'other', enrolledAt: 1, policyName: 'two' })).toBe(false);
      expect(await registry.find(serial)).toEqual({
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

    it('lets the same request take up its attempt again at once, under a higher number, and no other request', async () => {
      const serial = await fresh();
      await claim(serial, { claimedBy: 'ask-1' });
      expect(await claim(serial, { claimedBy: 'ask-2' })).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial)).toMatchObject({ outcome: 'busy' });
      expect(await claim(serial, { claimedBy: 'ask-1' })).toMatchObject({ outcome: 'claimed', device: { attempt: 2 } });
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
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
        [
          'record a certificate',
          (serial, attempt) => registry.recordCertificate(at(serial, attempt), { certificateId: 'd', keptReply }),
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
        expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'd', keptReply })).toBe(false);
        expect(await registry.discardCertificate(at(serial, 1), 'c')).toBe(false);
        expect(await registry.release(at(serial, 1))).toBe(false);
        expect(await registry.find(serial)).toEqual(before);
      }
    });

    it('hands the next attempt what an earlier one recorded', async () => {
      const serial = await fresh();
      await claim(serial);
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'cert-1', keptReply })).toBe(true);
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
        await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply }),
        await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply }),
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
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'other', keptReply })).toBe(false);
    });

    it('gives the right back at once when an attempt is released, and keeps its certificate', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply });
      expect(await registry.release(at(serial, 1))).toBe(true);
      expect(await claim(serial)).toMatchObject({ outcome: 'claimed', device: { attempt: 2, certificateId: 'c' } });
    });

    const registered = async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply, keyDigest: 'digest' });
      await registry.finish(at(serial, 1), 'c', now);
      const device = await registry.find(serial);
      if (device === undefined) throw new Error('not found');
      return device;
    };

    it('remembers when a certificate was issued and for which key', async () => {
      expect(await registered()).toMatchObject({ issuedAt: now, keyDigest: 'digest' });
    });

    /** As a row of an earlier version: the reply is not in it. */
    const withoutReply = async () => {
      const { serial } = await registered();
      const device = await found(serial);
      expect(await registry.eraseKeptReply(device)).toBe(true);
      return found(serial);
    };

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
      expect(await registry.claim(request)).toMatchObject({
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
        ['record a certificate', (frozen) => registry.recordCertificate(frozen, { certificateId: 'd', keptReply })],
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
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
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

    it('gives a public key to one device, until that is removed', async () => {
      const [one, other] = [await fresh(), await fresh()];
      const key = `key of ${one}`;
      const outcomes = await Promise.all([one, one, one].map((serial) => registry.bindKey(serial, key)));
      expect(outcomes).toEqual([true, true, true]);
      expect(await registry.bindKey(other, key)).toBe(false);
      expect(await registry.bindKey(other, `${key}!`)).toBe(true);
      const row = await registry.find(one);
      if (row) await registry.remove(row, now);
      expect(await registry.bindKey(other, key)).toBe(true);
      expect(await registry.bindKey(other, key)).toBe(true);
    });

    it('notes what an attempt is about to create, and hands it to the next one until it is recorded', async () => {
      const serial = await fresh();
      await claim(serial);
      const ownKey = { csrPem: 'CSR', keyDigest: 'k', sealedKey: 'sealed' };
      expect(await registry.recordCreateIntent(at(serial, 1), { at: now, keyDigest: 'k' }, ownKey)).toBe(true);
      expect(await registry.recordCreateIntent(at(serial, 2), { at: now })).toBe(false);
      const next = await claim(serial, { now: now + leaseMs });
      expect(next).toMatchObject({ device: { createIntents: { 1: { at: now, keyDigest: 'k' } }, ownKey } });
      expect(await registry.recordCreateIntent(at(serial, 1), { at: now })).toBe(false);
      expect(await registry.recordCreateIntent(at(serial, 2), { at: now + 1 })).toBe(true);
      expect(await registry.recordCertificate(at(serial, 2), { certificateId: 'c', keptReply, createdBy: 1 })).toBe(
        true,
      );
      expect(await registry.recordCertificate(at(serial, 2), { certificateId: 'c', keptReply, createdBy: 1 })).toBe(
        true,
      );
      expect((await registry.find(serial))?.createIntents).toEqual({ 2: { at: now + 1 } });
      await registry.finish(at(serial, 2), 'c', now);
      expect(await registry.find(serial)).not.toHaveProperty('ownKey');
    });

    it('forgets a create call that certainly made nothing', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCreateIntent(at(serial, 1), { at: now });
      expect(await registry.release(at(serial, 1), true)).toBe(true);
      expect(await registry.find(serial)).not.toHaveProperty('creates');
    });

    it('remembers a bounded number of create calls, the latest ones', async () => {
      const serial = await fresh();
      for (let attempt = 1; attempt <= 203; attempt++) {
        await claim(serial, { claimedBy: 'ask' });
        expect(await registry.recordCreateIntent(at(serial, attempt), { at: attempt })).toBe(true);
      }
      const attempts = Object.keys((await registry.find(serial))?.createIntents ?? {}).map(Number);
      expect(attempts).toHaveLength(200);
      expect(Math.min(...attempts)).toBe(4);
      expect(await registry.recordCreateIntent(at(serial, 202), { at: now })).toBe(false);
    });

    it('clears create intents, and only while no other decision was written', async () => {
      const serial = await fresh();
      for (const attempt of [1, 2]) {
        await claim(serial, { claimedBy: 'ask' });
        await registry.recordCreateIntent(at(serial, attempt), { at: now });
      }
      const read = await registry.find(serial);
      if (read === undefined) throw new Error('not found');
      expect(await registry.clearCreateIntents(read, ['1'])).toBe(true);
      expect((await registry.find(serial))?.createIntents).toEqual({ 2: { at: now } });
      await claim(serial, { claimedBy: 'ask' });
      expect(await registry.clearCreateIntents(read, ['2'])).toBe(false);
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
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'd', keptReply })).toBe(true);
      await registry.confirmDeleted(serial, 'c');
      expect(await registry.find(serial)).not.toHaveProperty('pendingDeletion');
      // this attempt may have found it before it was deleted
      expect(await registry.recordCertificate(at(serial, 1), { certificateId: 'c', keptReply })).toBe(false);
      await claim(serial, { now: now + leaseMs });
      expect(await registry.find(serial)).not.toHaveProperty('deleted');
    });

    it('condemns what no row names, and nothing else', async () => {
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

    it('abandons an attempt that was not continued, and raises the fence', async () => {
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

    it('keeps the row of a removed device until what it intended is resolved', async () => {
      const serial = await fresh();
      await claim(serial);
      await registry.recordCreateIntent(at(serial, 1), { at: now });
      const read = await registry.find(serial);
      if (read) await registry.retire(read, 'with-thing');
      const retired = await registry.find(serial);
      if (retired === undefined) throw new Error('not found');
      expect(await registry.remove(retired, now)).toBe(false);
      await registry.clearCreateIntents(retired, ['1']);
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

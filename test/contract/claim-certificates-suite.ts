import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type ClaimCertificates, type WaitingCertificate, waitingMs } from '../../registry/claim-certificates.ts';

const now = 1_700_000_000_000;
const id = 'ab'.repeat(32);
const settings = {
  id,
  group: 'pumps',
  templateName: 'pump',
  serials: 'P-*',
  most: 2,
  mostAnHour: 10,
  createdAt: now,
  endsAt: now + 86_400_000,
};

/** The promises of the port, for every adapter. @param open gives the claim certificates of a new table each time */
export function claimCertificatesContract(
  name: string,
  start: () => Promise<{ open(): Promise<ClaimCertificates>; close(): Promise<void> }>,
): void {
  describe(`claim certificates contract: ${name}`, () => {
    let started: Awaited<ReturnType<typeof start>>;
    let claims: ClaimCertificates;
    beforeAll(async () => {
      started = await start();
    });
    beforeEach(async () => {
      claims = await started.open();
    });
    afterAll(() => started.close());

    const to = (serial: string, at = now) => ({ serial, now: at, madeAfter: at - waitingMs });
    /** A certificate that waits. */
    async function waits(number: number, at = now): Promise<WaitingCertificate & { certificateId: string }> {
      const intended = { id: `attempt-${number}`, keyDigest: `key-${number}` };
      expect(await claims.intend(id, intended, at)).toBeUndefined();
      const certificate = { ...intended, at, certificateId: `certificate-${number}` };
      expect(await claims.wait(id, certificate)).toBe(true);
      return certificate;
    }

    it('one is added once, is listed, and is revoked for good', async () => {
      expect(await claims.list()).toEqual([]);
      expect(await claims.add(settings)).toBe(true);
      expect(await claims.add({ ...settings, most: 1000 })).toBe(false);
      expect(await claims.list()).toEqual([{ ...settings, served: 0 }]);
      expect(await claims.revoke('cd'.repeat(32), now)).toBe(false);
      expect([await claims.revoke(id, now + 1), await claims.revoke(id, now + 2)]).toEqual([true, true]);
      expect(await claims.find(id)).toEqual({ ...settings, served: 0, revokedAt: now + 1 });
    });

    it('one that ended or was revoked is forgotten on demand, once it notes no certificate', async () => {
      const none = { intended: [], waiting: [], given: [], over: [] };
      const [ended, revoked] = [
        { ...settings, id: 'e'.repeat(64) },
        { ...settings, id: 'f'.repeat(64) },
      ];
      for (const each of [settings, ended, revoked])
        await claims.add({ ...each, endsAt: now + (each === ended ? 1 : 100) });
      expect(await claims.remove(id, now + 1)).toBe(false);
      expect(await claims.remove(ended.id, now)).toBe(false);
      expect(await claims.remove(ended.id, now + 1)).toBe(true);
      await claims.intend(revoked.id, { id: 'a' }, now);
      await claims.revoke(revoked.id, now);
      expect(await claims.remove(revoked.id, now)).toBe(false);
      expect(await claims.end(revoked.id, { id: 'a', at: now })).toBe(true);
      expect(await claims.remove(revoked.id, now)).toBe(false);
      await claims.forget(revoked.id, { id: 'a', at: now });
      expect(await claims.remove(revoked.id, now)).toBe(true);
      expect((await claims.list()).map((each) => each.id)).toEqual([id]);
      expect([await claims.find(ended.id), await claims.waiting(ended.id)]).toEqual([undefined, none]);
      expect(await claims.intend(revoked.id, { id: 'b' }, now)).toBe('unknown');
      // it may be named again
      expect(await claims.add(ended)).toBe(true);
      expect(await claims.list()).toHaveLength(2);
    });

    it('one that is unknown, revoked or over asks for nothing', async () => {
      expect(await claims.intend(id, { id: 'a' }, now)).toBe('unknown');
      await claims.add(settings);
      expect(await claims.intend(id, { id: 'a' }, settings.endsAt)).toBe('ended');
      const { certificateId } = await waits(1);
      await claims.revoke(id, now);
      expect(await claims.intend(id, { id: 'a' }, now)).toBe('revoked');
      expect(await claims.give(id, certificateId, to('P-1'))).toBe('revoked');
    });

    it('a certificate that waits is given to one device, and then no other device gets it and it is not over', async () => {
      await claims.add(settings);
      const certificate = await waits(1);
      const given = { ...certificate, serial: 'P-1' };
      expect(await claims.give(id, 'certificate-1', to('P-1'))).toEqual(given);
      // its answer was lost
      expect(await claims.give(id, 'certificate-1', to('P-1'))).toEqual(given);
      expect(await claims.give(id, 'certificate-1', to('P-2'))).toBe('not-waiting');
      expect(await claims.end(id, certificate)).toBe(false);
      expect(await claims.find(id)).toMatchObject({ served: 1 });
      await claims.forget(id, given);
      expect(await claims.waiting(id)).toEqual({ intended: [], waiting: [], given: [], over: [] });
    });

    it('one that is over is given to no device, and its create call is answered in vain', async () => {
      await claims.add(settings);
      const certificate = await waits(1);
      expect([await claims.end(id, certificate), await claims.end(id, certificate)]).toEqual([true, true]);
      expect(await claims.give(id, 'certificate-1', to('P-1'))).toBe('not-waiting');
      await claims.intend(id, { id: 'attempt-2' }, now);
      expect(await claims.end(id, { id: 'attempt-2', at: now })).toBe(true);
      expect(await claims.wait(id, { id: 'attempt-2', at: now, certificateId: 'late' })).toBe(false);
      expect((await claims.waiting(id)).over).toHaveLength(2);
    });

    it('one that has waited for an hour is given to no device', async () => {
      await claims.add(settings);
      await waits(1);
      expect(await claims.give(id, 'certificate-1', to('P-1', now + waitingMs))).toBe('not-waiting');
      expect(await claims.give(id, 'certificate-1', to('P-1', now + waitingMs - 1))).toMatchObject({ serial: 'P-1' });
    });

    it('no more devices than it may serve get a certificate, however many ask at once', async () => {
      await claims.add(settings);
      for (const number of [1, 2, 3, 4]) await waits(number);
      const asked = [1, 2, 3, 4].map((number) => claims.give(id, `certificate-${number}`, to(`P-${number}`)));
      const outcomes = await Promise.all(asked);
      expect(outcomes.filter((outcome) => typeof outcome === 'object')).toHaveLength(2);
      expect(outcomes.filter((outcome) => outcome === 'used-up')).toHaveLength(2);
      expect(await claims.intend(id, { id: 'a' }, now)).toBe('used-up');
    });

    it('a device that may not have its certificate does not count, also when that is said twice', async () => {
      await claims.add(settings);
      await waits(1);
      const given = (await claims.give(id, 'certificate-1', to('P-1'))) as WaitingCertificate;
      await claims.takeBack(id, given);
      await claims.takeBack(id, given);
      expect(await claims.find(id)).toMatchObject({ served: 0 });
      expect((await claims.waiting(id)).over).toMatchObject([{ certificateId: 'certificate-1' }]);
      expect(await claims.give(id, 'certificate-1', to('P-1'))).toBe('not-waiting');
    });

    it('its row is never so long that it cannot be revoked: where many are over and not deleted yet, no more are intended', async () => {
      await claims.add({ ...settings, most: 1000, mostAnHour: 1000 });
      for (let number = 0; number < 200; number++) {
        const certificate = await waits(number);
        const given = (await claims.give(id, certificate.certificateId, to('P-1'))) as WaitingCertificate;
        await claims.takeBack(id, given);
      }
      expect(await claims.whyNoneMore(id, now)).toBe('too-many-wait');
      expect(await claims.intend(id, { id: 'a' }, now)).toBe('too-many-wait');
      const [over] = (await claims.waiting(id)).over;
      await claims.forget(id, over as WaitingCertificate);
      expect(await claims.whyNoneMore(id, now)).toBeUndefined();
      expect(await claims.intend(id, { id: 'a' }, now)).toBeUndefined();
    });

    it('no more certificates than it may have in an hour are intended, also by a clock that is set back', async () => {
      await claims.add({ ...settings, mostAnHour: 3 });
      const asked = await Promise.all([1, 2, 3, 4, 5].map((number) => claims.intend(id, { id: `a${number}` }, now)));
      expect(asked.filter((refusal) => refusal === undefined)).toHaveLength(3);
      expect(await claims.intend(id, { id: 'b' }, now)).toBe('hour-used-up');
      expect(await claims.intend(id, { id: 'b' }, now - 3_600_000)).toBe('hour-used-up');
      expect(await claims.intend(id, { id: 'b' }, now + 3_600_000)).toBeUndefined();
    });
  });
}

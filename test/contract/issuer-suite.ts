import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { CsrRefused, type Issuer } from '../../issuer/issuer.ts';
import { UpstreamRefused, UpstreamThrottled } from '../../runtime/upstream.ts';
import { makeEcKey as makeTaggedKey, ownerTagOf } from '../../worker/ec-key.ts';

export type CertificateState = { certificateId: string; active: boolean; things: string[]; policies: string[] };
export type IssuerUnderTest = {
  readonly issuer: Issuer;
  /** the fault of the next `issue`, which will be by this kind of key */
  fault(kind: 'throttle' | 'fail-before' | 'act-and-lose-answer', key: 'rsa' | 'csr'): void;
  inspect(): Promise<CertificateState[]>;
  close(): Promise<void>;
};

export const policyName = 'cvm-device';

const ownerTag = ownerTagOf('cvm-devices');
const makeEcKey = (serial: string) => makeTaggedKey(serial, ownerTag);

/** The promises of the port, for every adapter. */
export function issuerContract(name: string, open: () => Promise<IssuerUnderTest>): void {
  describe(`issuer contract: ${name}`, () => {
    let under: IssuerUnderTest;
    beforeAll(async () => {
      under = await open();
    });
    afterAll(() => under?.close());
    const find = async (id: string) => (await under.inspect()).find(({ certificateId }) => certificateId === id);

    it('issues certificates INACTIVE and attached to nothing', async () => {
      const { certificateId, privateKeyPem } = await under.issuer.issue('rsa');
      expect(certificateId).toMatch(/^[0-9a-f]{64}$/);
      expect(privateKeyPem).toBeDefined();
      expect(await find(certificateId)).toMatchObject({ active: false, things: [], policies: [] });
    });

    it('issues from a CSR without a private key', async () => {
      const issued = await under.issuer.issue({ csrPem: (await makeEcKey('AA:BB')).csrPem });
      expect(issued).not.toHaveProperty('privateKeyPem');
    });

    it('makes another certificate each time, also from the same CSR', async () => {
      const { csrPem } = await makeEcKey('twice');
      const [one, other] = [await under.issuer.issue({ csrPem }), await under.issuer.issue({ csrPem })];
      expect(one.certificateId).not.toBe(other.certificateId);
    });

    it('refuses text that is no CSR, and makes nothing', async () => {
      const before = (await under.inspect()).length;
      await expect(under.issuer.issue({ csrPem: 'nonsense' })).rejects.toThrow(CsrRefused);
      expect(await under.inspect()).toHaveLength(before);
    });

    describe.each(['rsa', 'csr'] as const)('by %s', (key) => {
      const issue = async () => under.issuer.issue(key === 'rsa' ? key : { csrPem: (await makeEcKey('S')).csrPem });

      it('makes nothing when it is throttled, and throws UpstreamThrottled', async () => {
        const before = (await under.inspect()).length;
        under.fault('throttle', key);
        await expect(issue()).rejects.toThrow(UpstreamThrottled);
        expect(await under.inspect()).toHaveLength(before);
      });

      it('makes exactly one certificate when the answer is lost: it never repeats a create call', async () => {
        const before = (await under.inspect()).length;
        under.fault('act-and-lose-answer', key);
        await expect(issue()).rejects.toThrow();
        expect(await under.inspect()).toHaveLength(before + 1);
      });

      it('throws an outage as it comes, not as a refusal', async () => {
        const before = (await under.inspect()).length;
        under.fault('fail-before', key);
        const outage = await issue().catch((error: unknown) => error);
        expect(outage).toBeInstanceOf(Error);
        for (const kind of [UpstreamThrottled, CsrRefused, UpstreamRefused]) expect(outage).not.toBeInstanceOf(kind);
        expect(await under.inspect()).toHaveLength(before);
      });
    });

    it('makes a thing once when it is asked twice', async () => {
      await under.issuer.ensureThing('thing-once');
      await under.issuer.ensureThing('thing-once');
    });

    it('attaches and activates, also when it is repeated', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await under.issuer.ensureThing('thing-1');
      const identity = { certificateId, thingName: 'thing-1', policyName };
      await under.issuer.attach(identity);
      await under.issuer.attach(identity);
      await under.issuer.activate(certificateId);
      await under.issuer.activate(certificateId);
      expect(await find(certificateId)).toEqual({
        certificateId,
        active: true,
        things: ['thing-1'],
        policies: [policyName],
      });
    });

    it('gives a certificate the policies of a template, also when it is repeated', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await under.issuer.ensureThing('thing-5');
      await under.issuer.attach({ certificateId, thingName: 'thing-5', policyName });
      const overrides = { attributes: 'MERGE', thingTypeName: 'REPLACE' } as const;
      const says = { thingName: 'thing-5', certificateId, overrides, attributes: { model: 'm' }, thingGroupNames: [] };
      for (const _twice of [1, 2])
        expect(await under.issuer.configure({ ...says, policyNames: [policyName] })).toBe(true);
      expect(await find(certificateId)).toMatchObject({ things: ['thing-5'], policies: [policyName] });
    });

    it('attaches a certificate to one thing only', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      for (const thing of ['thing-3', 'thing-4']) await under.issuer.ensureThing(thing);
      await under.issuer.attach({ certificateId, thingName: 'thing-3', policyName });
      await expect(under.issuer.attach({ certificateId, thingName: 'thing-4', policyName })).rejects.toThrow();
      expect(await find(certificateId)).toMatchObject({ things: ['thing-3'] });
    });

    it('does not attach to a thing that does not exist', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await expect(under.issuer.attach({ certificateId, thingName: 'no-thing', policyName })).rejects.toThrow();
      expect(await find(certificateId)).toMatchObject({ active: false, things: [] });
    });

    it('deactivates and activates again, also when it is repeated', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await under.issuer.activate(certificateId);
      for (const _twice of [1, 2]) await under.issuer.deactivate(certificateId);
      expect(await find(certificateId)).toMatchObject({ active: false });
      await under.issuer.activate(certificateId);
      expect(await find(certificateId)).toMatchObject({ active: true });
    });

    it('withdraws a certificate that is active and attached, so that nothing is left; also when it is repeated', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await under.issuer.ensureThing('thing-2');
      await under.issuer.attach({ certificateId, thingName: 'thing-2', policyName });
      await under.issuer.activate(certificateId);
      await under.issuer.withdraw(certificateId);
      expect(await find(certificateId)).toBeUndefined();
      await under.issuer.withdraw(certificateId);
    });

    it('does not activate a certificate that was withdrawn', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await under.issuer.withdraw(certificateId);
      await expect(under.issuer.activate(certificateId)).rejects.toThrow();
    });

    it('counts a certificate that never existed as withdrawn, and as inactive', async () => {
      const never = '0'.repeat(64);
      await under.issuer.withdraw(never);
      await under.issuer.deactivate(never);
      expect(await find(never)).toBeUndefined();
    });

    it('finds the certificate of a create call whose answer was lost by its public key, and no other', async () => {
      const [lost, other] = [await makeEcKey('lost'), await makeEcKey('other')];
      const since = Date.now();
      expect(await under.issuer.findInactive(lost.keyDigest, since, [])).toBeUndefined();
      await under.issuer.issue({ csrPem: other.csrPem });
      under.fault('act-and-lose-answer', 'csr');
      await expect(under.issuer.issue({ csrPem: lost.csrPem })).rejects.toThrow();
      const found = await under.issuer.findInactive(lost.keyDigest, since, []);
      expect(found?.certificateId).toMatch(/^[0-9a-f]{64}$/);
      expect(await under.issuer.describeCertificate(found?.certificateId ?? '')).toMatchObject({
        status: 'inactive',
        keyDigest: lost.keyDigest,
        certificatePem: found?.certificatePem,
      });
      expect(await under.issuer.findInactive(lost.keyDigest, since + 3_600_000, [])).toBeUndefined();
      expect(await under.issuer.findInactive(lost.keyDigest, since, [found?.certificateId ?? ''])).toBeUndefined();
      await under.issuer.activate(found?.certificateId ?? '');
      expect(await under.issuer.findInactive(lost.keyDigest, since, [])).toBeUndefined();
    });

    it('shows the subject of a certificate, with its owner tag', async () => {
      const { certificateId } = await under.issuer.issue({ csrPem: (await makeEcKey('AA:BB')).csrPem });
      expect((await under.issuer.describeCertificate(certificateId))?.subject).toMatchObject({
        O: ownerTag.organization,
        OU: ownerTag.unit,
        CN: 'AA:BB',
      });
      const byAws = await under.issuer.issue('rsa');
      expect((await under.issuer.describeCertificate(byAws.certificateId))?.subject).toEqual({
        CN: 'AWS IoT Certificate',
      });
    });

    it('lists every certificate, with its status', async () => {
      const made: string[] = [];
      for (let count = 0; count < 3; count++) made.push((await under.issuer.issue('rsa')).certificateId);
      await under.issuer.activate(made[0] ?? '');
      const statuses = new Map<string, string>();
      for await (const { certificateId, status, createdAt } of under.issuer.listCertificates()) {
        statuses.set(certificateId, status);
        expect(Math.abs(Date.now() - createdAt)).toBeLessThan(600_000);
      }
      expect(made.map((id) => statuses.get(id))).toEqual(['active', 'inactive', 'inactive']);
      expect(statuses.size).toBe((await under.inspect()).length);
    });

    it('tells whether a certificate is attached to anything', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      expect(await under.issuer.isAttached(certificateId)).toBe(false);
      await under.issuer.ensureThing('thing-5');
      await under.issuer.attach({ certificateId, thingName: 'thing-5', policyName });
      expect(await under.issuer.isAttached(certificateId)).toBe(true);
      expect(await under.issuer.isAttached('0'.repeat(64))).toBe(false);
      expect(await under.issuer.describeCertificate('0'.repeat(64))).toBeUndefined();
    });

    it('tells which certificates a thing has, and which things a certificate', async () => {
      expect(await under.issuer.certificatesOf('thing-7')).toBeUndefined();
      await under.issuer.ensureThing('thing-7');
      expect(await under.issuer.certificatesOf('thing-7')).toEqual([]);
      const { certificateId } = await under.issuer.issue('rsa');
      expect(await under.issuer.thingsOf(certificateId)).toEqual([]);
      await under.issuer.attach({ certificateId, thingName: 'thing-7', policyName });
      expect(await under.issuer.certificatesOf('thing-7')).toEqual([certificateId]);
      expect(await under.issuer.thingsOf(certificateId)).toEqual(['thing-7']);
      expect(await under.issuer.thingsOf('0'.repeat(64))).toEqual([]);
    });

    it('removes a thing that nothing is attached to, also when it is repeated', async () => {
      await under.issuer.ensureThing('thing-6');
      for (const _twice of [1, 2]) await under.issuer.removeThing('thing-6');
      const { certificateId } = await under.issuer.issue('rsa');
      await expect(under.issuer.attach({ certificateId, thingName: 'thing-6', policyName })).rejects.toThrow();
    });

    it('knows the endpoint', async () => {
      expect(await under.issuer.endpoint()).toMatch(/^[a-z0-9.-]+$/);
    });
  });
}

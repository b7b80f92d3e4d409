import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeEcKey } from '../../worker/ec-key.ts';
import { CsrRefused, type Issuer, IssuerThrottled } from '../../worker/issuer.ts';

export type Inspected = { certificateId: string; active: boolean; things: string[]; policies: string[] };
export type IssuerUnderTest = {
  readonly issuer: Issuer;
  /** what happens to the next `issue` by RSA key */
  fault(kind: 'throttle' | 'fail-before' | 'act-and-lose-answer'): void;
  inspect(): Promise<Inspected[]>;
  close(): Promise<void>;
};

export const policyName = 'cvm-device';

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

    it('refuses a CSR that is none, and makes nothing', async () => {
      const before = (await under.inspect()).length;
      await expect(under.issuer.issue({ csrPem: 'nonsense' })).rejects.toThrow(CsrRefused);
      expect(await under.inspect()).toHaveLength(before);
    });

    it('makes nothing when it is throttled, and says so', async () => {
      const before = (await under.inspect()).length;
      under.fault('throttle');
      await expect(under.issuer.issue('rsa')).rejects.toThrow(IssuerThrottled);
      expect(await under.inspect()).toHaveLength(before);
    });

    it('makes exactly one certificate when the answer is lost: it never repeats a create', async () => {
      const before = (await under.inspect()).length;
      under.fault('act-and-lose-answer');
      await expect(under.issuer.issue('rsa')).rejects.toThrow();
      expect(await under.inspect()).toHaveLength(before + 1);
    });

    it('makes a thing once, however often it is asked', async () => {
      await under.issuer.ensureThing('thing-once');
      await under.issuer.ensureThing('thing-once');
    });

    it('attaches and activates, twice as well as once', async () => {
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

    it('deactivates and activates again, twice as well as once', async () => {
      const { certificateId } = await under.issuer.issue('rsa');
      await under.issuer.activate(certificateId);
      for (const _twice of [1, 2]) await under.issuer.deactivate(certificateId);
      expect(await find(certificateId)).toMatchObject({ active: false });
      await under.issuer.activate(certificateId);
      expect(await find(certificateId)).toMatchObject({ active: true });
    });

    it('withdraws a certificate that is active and attached, so that nothing is left; twice as well as once', async () => {
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

    it('knows the endpoint', async () => {
      expect(await under.issuer.endpoint()).toMatch(/^[a-z0-9.-]+$/);
    });
  });
}

import { createHash, randomUUID } from 'node:crypto';
import { CsrRefused, type Identity, type Issuer, IssuerThrottled } from '../../worker/issuer.ts';

type Held = { active: boolean; thingName?: string; policyName?: string };
type Fault = 'throttle' | 'fail-before' | 'act-and-lose-answer';

/** An issuer that behaves: it holds certificates, keeps the rules of the port, and fails where it is told to. */
export function createMemoryIssuer() {
  const certificates = new Map<string, Held>();
  const things = new Map<string, string | undefined>();
  let next: Fault | undefined;

  const held = (certificateId: string): Held => {
    const found = certificates.get(certificateId);
    if (found === undefined) throw new Error(`no certificate ${certificateId}`);
    return found;
  };

  const issuer: Issuer = {
    async issue(key) {
      const fault = next;
      next = undefined;
      if (fault === 'throttle') throw new IssuerThrottled('issue');
      if (fault === 'fail-before') throw new Error('failed before acting');
      if (key !== 'rsa' && !key.csrPem.includes('CERTIFICATE REQUEST')) throw new CsrRefused('not a CSR');
      const certificateId = createHash('sha256').update(randomUUID()).digest('hex');
      certificates.set(certificateId, { active: false });
      if (fault === 'act-and-lose-answer') throw new Error('the answer was lost');
      return {
        certificateId,
        certificateArn: `arn:aws:iot:::cert/${certificateId}`,
        certificatePem: `PEM ${certificateId}`,
        ...(key === 'rsa' ? { privateKeyPem: 'KEY' } : {}),
      };
    },
    async ensureThing(name, type) {
      if (!things.has(name)) things.set(name, type);
    },
    async attach({ certificateId, thingName, policyName }: Identity) {
      Object.assign(held(certificateId), { thingName, policyName });
    },
    async activate(certificateId) {
      held(certificateId).active = true;
    },
    async deactivate(certificateId) {
      held(certificateId).active = false;
    },
    async withdraw(certificateId) {
      certificates.delete(certificateId);
    },
    endpoint: async () => 'endpoint.example',
  };
  return {
    issuer,
    fault(kind: Fault) {
      next = kind;
    },
    async inspect() {
      return [...certificates].map(([certificateId, { active, thingName, policyName }]) => ({
        certificateId,
        active,
        things: thingName ? [thingName] : [],
        policies: policyName ? [policyName] : [],
      }));
    },
    async close() {},
  };
}

import { createHash, randomUUID } from 'node:crypto';
import { CsrRefused, type Issuer, IssuerThrottled } from '../../worker/issuer.ts';

type Held = { active: boolean; thingName?: string; policies: Set<string> };
type Operation = keyof Issuer;
export type IssuerFault = 'throttle' | 'fail-before' | 'act-and-lose-answer';

/** An issuer that behaves: it holds certificates, keeps the rules of the port, and fails where it is told to. */
export function createMemoryIssuer() {
  const certificates = new Map<string, Held>();
  const things = new Set<string>();
  const counted = new Map<Operation, number>();
  const faults = new Map<Operation, IssuerFault>();

  const held = (certificateId: string): Held => {
    const found = certificates.get(certificateId);
    if (found === undefined) throw new Error(`no certificate ${certificateId}`);
    return found;
  };

  /** Every call goes through here: it is counted, and its fault happens. */
  async function call<T>(operation: Operation, act: () => T): Promise<T> {
    counted.set(operation, (counted.get(operation) ?? 0) + 1);
    const fault = faults.get(operation);
    faults.delete(operation);
    if (fault === 'throttle') throw new IssuerThrottled(operation);
    if (fault === 'fail-before') throw new Error('failed before acting');
    const answer = act();
    if (fault === 'act-and-lose-answer') throw new Error('the answer was lost');
    return answer;
  }

  const issuer: Issuer = {
    issue: (key) =>
      call('issue', () => {
        if (key !== 'rsa' && !key.csrPem.includes('CERTIFICATE REQUEST')) throw new CsrRefused('not a CSR');
        const certificateId = createHash('sha256').update(randomUUID()).digest('hex');
        certificates.set(certificateId, { active: false, policies: new Set() });
        return {
          certificateId,
          certificateArn: `arn:aws:iot:us-east-1:000000000000:cert/${certificateId}`,
          certificatePem: `PEM ${certificateId}`,
          ...(key === 'rsa' ? { privateKeyPem: `KEY ${certificateId}` } : {}),
        };
      }),
    ensureThing: (name) => call('ensureThing', () => void things.add(name)),
    attach: ({ certificateId, thingName, policyName }) =>
      call('attach', () => {
        const certificate = held(certificateId);
        if (!things.has(thingName)) throw new Error(`no thing ${thingName}`);
        if ((certificate.thingName ?? thingName) !== thingName) throw new Error('it belongs to another thing');
        certificate.thingName = thingName;
        certificate.policies.add(policyName);
      }),
    activate: (certificateId) =>
      call('activate', () => {
        held(certificateId).active = true;
      }),
    deactivate: (certificateId) =>
      call('deactivate', () => {
        const found = certificates.get(certificateId);
        if (found !== undefined) found.active = false;
      }),
    withdraw: (certificateId) => call('withdraw', () => void certificates.delete(certificateId)),
    endpoint: () => call('endpoint', () => 'endpoint.example'),
  };
  return {
    issuer,
    /** what happens to the next call of `operation` */
    fault(kind: IssuerFault, operation: Operation = 'issue') {
      faults.set(operation, kind);
    },
    /** how often `operation` was called, whatever became of it */
    calls: (operation: Operation): number => counted.get(operation) ?? 0,
    async inspect() {
      return [...certificates].map(([certificateId, { active, thingName, policies }]) => ({
        certificateId,
        active,
        things: thingName === undefined ? [] : [thingName],
        policies: [...policies],
      }));
    },
    async close() {},
  };
}

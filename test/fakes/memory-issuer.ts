import { createHash, randomUUID } from 'node:crypto';
import { CsrRefused, clockSkewMs, type Issuer } from '../../issuer/issuer.ts';
import { UpstreamThrottled } from '../../runtime/upstream.ts';
import { Pkcs10CertificateRequest } from '../../runtime/x509.ts';

export type StoredCertificate = {
  active: boolean;
  thingName?: string;
  policies: Set<string>;
  readonly keyDigest: string;
  readonly subject: Readonly<Record<string, string>>;
  readonly createdAt: number;
};

/** What the account holds. */
export type Cloud = { readonly certificates: Map<string, StoredCertificate>; readonly things: Set<string> };

/** The calls of AWS. Each is one step of the fake, since a crash can fall between any two of them. */
export type Call =
  | 'CreateCertificate'
  | 'ListCertificates'
  | 'DescribeCertificate'
  | 'ListThingPrincipals'
  | 'ListPrincipalThings'
  | 'CreateThing'
  | 'AttachPolicy'
  | 'AttachThingPrincipal'
  | 'Activate'
  | 'Deactivate'
  | 'Detach'
  | 'DeleteCertificate'
  | 'DeleteThing'
  | 'DescribeEndpoint';

export type IssuerFault = 'throttle' | 'fail-before' | 'act-and-lose-answer';

/** Runs the steps: it decides when each one runs, and whether its answer arrives. */
export type RunStep = <T>(call: Call, act: () => T, about: string) => Promise<T>;

/** Ids, keys, time and the order of the steps come from outside. */
export type CloudOptions = {
  readonly step?: RunStep;
  readonly makeId?: () => string;
  /** the public key's digest and the subject of a CSR @throws for text that is no CSR */
  readonly readCsr?: (csrPem: string) => Pick<StoredCertificate, 'keyDigest' | 'subject'>;
  readonly now?: () => number;
};

const newCloud = (): Cloud => ({ certificates: new Map(), things: new Set() });

/** An issuer that behaves: it keeps the rules of AWS IoT Core, as far as the port shows them. */
export function createCloudIssuer(cloud: Cloud, options: CloudOptions = {}): Issuer {
  const { step = async (_call, act) => act(), makeId = randomId, readCsr = parseCsr, now = Date.now } = options;
  const { certificates, things } = cloud;
  const stored = (certificateId: string): StoredCertificate => {
    const found = certificates.get(certificateId);
    if (found === undefined) throw new Error(`no certificate ${certificateId}`);
    return found;
  };
  const describe = (certificateId: string) => {
    const found = certificates.get(certificateId);
    if (found === undefined) return undefined;
    const { active, keyDigest, subject } = found;
    const status = active ? ('active' as const) : ('inactive' as const);
    return { certificateId, status, certificatePem: `PEM ${certificateId}`, keyDigest, subject };
  };
  const summaries = () =>
    [...certificates].reverse().map(([certificateId, { active, createdAt }]) => ({
      certificateId,
      status: active ? ('active' as const) : ('inactive' as const),
      createdAt,
    }));

  return {
    issue: (key) =>
      step(
        'CreateCertificate',
        () => {
          const certificateId = makeId();
          const of =
            key === 'rsa'
              ? { keyDigest: `key of ${certificateId}`, subject: { CN: 'AWS IoT Certificate' } }
              : readCsr(key.csrPem);
          certificates.set(certificateId, { active: false, policies: new Set(), createdAt: now(), ...of });
          return {
            certificateId,
            certificateArn: `arn:aws:iot:us-east-1:000000000000:cert/${certificateId}`,
            certificatePem: `PEM ${certificateId}`,
            ...(key === 'rsa' ? { privateKeyPem: `KEY ${certificateId}` } : {}),
          };
        },
        'a new one',
      ),
    async findInactive(keyDigest, since, except) {
      const candidates = await step('ListCertificates', summaries, keyDigest);
      for (const { certificateId, status, createdAt } of candidates) {
        if (status !== 'inactive' || createdAt < since - clockSkewMs || except.includes(certificateId)) continue;
        const found = await step('DescribeCertificate', () => describe(certificateId), certificateId);
        if (found?.status === 'inactive' && found.keyDigest === keyDigest)
          return {
            certificateId,
            certificateArn: `arn:aws:iot:us-east-1:000000000000:cert/${certificateId}`,
            certificatePem: found.certificatePem,
          };
      }
      return undefined;
    },
    ensureThing: (name) => step('CreateThing', () => void things.add(name), name),
    async attach({ certificateId, thingName, policyName }) {
      await step('AttachPolicy', () => void stored(certificateId).policies.add(policyName), certificateId);
      await step(
        'AttachThingPrincipal',
        () => {
          const certificate = stored(certificateId);
          if (!things.has(thingName)) throw new Error(`no thing ${thingName}`);
          if ((certificate.thingName ?? thingName) !== thingName) throw new Error('it belongs to another thing');
          certificate.thingName = thingName;
        },
        certificateId,
      );
    },
    async configure({ certificateId, policyNames }) {
      for (const policyName of policyNames)
        await step('AttachPolicy', () => void stored(certificateId).policies.add(policyName), certificateId);
      return true;
    },
    activate: (certificateId) =>
      step(
        'Activate',
        () => {
          stored(certificateId).active = true;
        },
        certificateId,
      ),
    deactivate: (certificateId) => step('Deactivate', () => deactivate(certificateId), certificateId),
    async withdraw(certificateId) {
      while (certificates.has(certificateId)) {
        await step('Deactivate', () => deactivate(certificateId), certificateId);
        await step('Detach', () => detach(certificateId), certificateId);
        await step('DeleteCertificate', () => deleteIfFree(certificateId), certificateId);
      }
    },
    removeThing: (name) =>
      step(
        'DeleteThing',
        () => {
          if ([...certificates.values()].some(({ thingName }) => thingName === name))
            throw new Error('something is attached to it');
          things.delete(name);
        },
        name,
      ),
    async *listCertificates() {
      yield* await step('ListCertificates', summaries, 'all');
    },
    describeCertificate: (certificateId) => step('DescribeCertificate', () => describe(certificateId), certificateId),
    certificatesOf: (name) =>
      step(
        'ListThingPrincipals',
        () =>
          things.has(name)
            ? [...certificates].filter(([, { thingName }]) => thingName === name).map(([id]) => id)
            : undefined,
        name,
      ),
    thingsOf: (certificateId) =>
      step(
        'ListPrincipalThings',
        () => [certificates.get(certificateId)?.thingName].filter((name) => name !== undefined),
        certificateId,
      ),
    isAttached: (certificateId) =>
      step(
        'DescribeCertificate',
        () => {
          const found = certificates.get(certificateId);
          return found !== undefined && (found.thingName !== undefined || found.policies.size > 0);
        },
        certificateId,
      ),
    endpoint: () => step('DescribeEndpoint', () => 'endpoint.example', 'endpoint'),
  };

  function deactivate(certificateId: string): void {
    const found = certificates.get(certificateId);
    if (found !== undefined) found.active = false;
  }

  function detach(certificateId: string): void {
    const found = certificates.get(certificateId);
    found?.policies.clear();
    if (found !== undefined) delete found.thingName;
  }

  /** Does nothing where AWS would answer with a conflict; `withdraw` then begins again. */
  function deleteIfFree(certificateId: string): void {
    const found = certificates.get(certificateId);
    if (found !== undefined && !found.active && found.policies.size === 0 && found.thingName === undefined)
      certificates.delete(certificateId);
  }
}

/** The fake for tests in which one call at a time fails, and calls are counted. */
export function createMemoryIssuer(options: Omit<CloudOptions, 'step'> = {}) {
  const cloud = newCloud();
  const journal: string[] = [];
  const faults = new Map<Call, IssuerFault>();
  const step: RunStep = async (call, act, about) => {
    journal.push(`${call} ${about}`);
    const fault = faults.get(call);
    faults.delete(call);
    if (fault === 'throttle') throw new UpstreamThrottled(call);
    if (fault === 'fail-before') throw new Error('failed before acting');
    const answer = act();
    if (fault === 'act-and-lose-answer') throw new Error('the answer was lost');
    return answer;
  };
  return {
    cloud,
    issuer: createCloudIssuer(cloud, { ...options, step }),
    /** what happens to the next such call */
    fault: (kind: IssuerFault, call: Call = 'CreateCertificate') => void faults.set(call, kind),
    /** every call with its subject, in order */
    journal,
    /** how often it was called, failures included */
    calls: (call: Call): number => journal.filter((line) => line.startsWith(call)).length,
    async inspect() {
      return [...cloud.certificates].map(([certificateId, { active, thingName, policies }]) => ({
        certificateId,
        active,
        things: thingName === undefined ? [] : [thingName],
        policies: [...policies],
      }));
    },
    async close() {},
  };
}

const randomId = () => createHash('sha256').update(randomUUID()).digest('hex');

function parseCsr(csrPem: string): Pick<StoredCertificate, 'keyDigest' | 'subject'> {
  if (!csrPem.includes('CERTIFICATE REQUEST')) throw new CsrRefused('not a CSR');
  const csr = new Pkcs10CertificateRequest(csrPem);
  return {
    keyDigest: createHash('sha256').update(Buffer.from(csr.publicKey.rawData)).digest('hex'),
    subject: Object.fromEntries(
      csr.subjectName
        .toJSON()
        .flatMap((part) => Object.entries(part).map(([name, values]) => [name, String(values[0])])),
    ),
  };
}

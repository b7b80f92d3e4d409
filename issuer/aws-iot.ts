import { createHash, X509Certificate } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreateKeysAndCertificateCommand,
  CreateThingCommand,
  DeleteCertificateCommand,
  DeleteThingCommand,
  DescribeCertificateCommand,
  DescribeEndpointCommand,
  DetachPolicyCommand,
  DetachThingPrincipalCommand,
  type IoTClient,
  type IoTClientConfig,
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListPrincipalThingsCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { connectIot } from '../aws/client.ts';
import type { IamRole } from '../aws/iam-policy.ts';
import type { Log } from '../runtime/log.ts';
import { gone, nameOf, translated, unless } from './aws-errors.ts';
import {
  type Certificate,
  type CertificateAttachment,
  type CertificateDescription,
  type CertificateStatus,
  type CertificateSummary,
  CsrRefused,
  clockSkewMs,
  type Issuer,
  type KeySource,
} from './issuer.ts';

/** How long to wait, in milliseconds. */
type Patience = {
  /** for the answer to one call */
  readonly answerMs: number;
  /** for what was made a moment ago to be known everywhere */
  readonly settleMs: number;
  /** for what was detached to be seen as detached: "several seconds", says DetachThingPrincipal */
  readonly detachMs: number;
};

export type AwsIssuerOptions = {
  readonly log: Log;
  readonly role?: IamRole;
  readonly patience?: Partial<Patience>;
  /** calls a second of each operation, for one who shall leave the quotas to others; unlimited, when absent */
  readonly callsPerSecond?: number;
} & Pick<IoTClientConfig, 'region' | 'endpoint' | 'credentials'>;

const usualPatience: Patience = { answerMs: 20_000, settleMs: 10_000, detachMs: 20_000 };

/**
 * AWS IoT Core.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/Welcome.html
 */
export function createAwsIssuer({
  log,
  role,
  patience,
  callsPerSecond,
  ...config
}: AwsIssuerOptions): Issuer & { close(): void } {
  const { answerMs, settleMs, detachMs } = { ...usualPatience, ...patience };
  const options = { ...config, role, answerMs };
  // creating a certificate is not idempotent, and the SDK repeats by itself what it takes for failed: here it must not
  const creator = connectIot({ ...options, maxAttempts: 1 });
  const client = connectIot(options);
  if (callsPerSecond !== undefined) deviceRate(client, callsPerSecond);
  const arns = new Map<string, string>();
  let endpoint: Promise<string> | undefined;

  /** What a process has just made may not be known yet to whichever part of AWS is asked. */
  const settled = <T>(call: () => Promise<T>) => repeated(call, ['ResourceNotFoundException'], settleMs);

  async function describeArn(certificateId: string): Promise<string> {
    const { certificateDescription } = await client.send(new DescribeCertificateCommand({ certificateId }));
    return must(certificateDescription?.certificateArn, 'DescribeCertificate');
  }

  async function attach({
    certificateId,
    thingName,
    policyName,
    thingGroupName,
  }: CertificateAttachment): Promise<void> {
    const arn = arns.get(certificateId) ?? (await settled(() => describeArn(certificateId)));
    await together([
      settled(() => client.send(new AttachPolicyCommand({ policyName, target: arn }))),
      settled(() =>
        client.send(
          new AttachThingPrincipalCommand({ thingName, principal: arn, thingPrincipalType: 'EXCLUSIVE_THING' }),
        ),
      ),
      thingGroupName === undefined
        ? undefined
        : settled(() => client.send(new AddThingToThingGroupCommand({ thingName, thingGroupName }))),
    ]);
  }

  async function* listCertificates(): AsyncIterable<CertificateSummary> {
    let marker: string | undefined;
    do {
      const page = await translated('ListCertificates', () =>
        client.send(
          new ListCertificatesCommand({ pageSize: 250, ascendingOrder: false, ...(marker ? { marker } : {}) }),
        ),
      );
      for (const { certificateId, status, creationDate } of page.certificates ?? [])
        if (certificateId !== undefined)
          yield { certificateId, status: statusOf(status), createdAt: creationDate?.getTime() ?? 0 };
      marker = page.nextMarker;
    } while (marker !== undefined && marker !== '');
  }

  async function describeCertificate(certificateId: string): Promise<CertificateDescription | undefined> {
    const found = await client.send(new DescribeCertificateCommand({ certificateId })).catch(gone);
    const description = found?.certificateDescription;
    if (description === undefined) return undefined;
    arns.set(certificateId, must(description.certificateArn, 'DescribeCertificate'));
    const certificatePem = must(description.certificatePem, 'DescribeCertificate');
    return { certificateId, status: statusOf(description.status), certificatePem, ...partsOf(certificatePem) };
  }

  async function findInactive(
    keyDigest: string,
    since: number,
    except: readonly string[],
  ): Promise<Certificate | undefined> {
    for await (const { certificateId, status, createdAt } of listCertificates()) {
      if (createdAt < since - clockSkewMs) return undefined;
      if (status !== 'inactive' || except.includes(certificateId)) continue;
      const found = await describeCertificate(certificateId);
      if (found?.status !== 'inactive' || found.keyDigest !== keyDigest) continue;
      const certificateArn = must(arns.get(certificateId), 'DescribeCertificate');
      return { certificateId, certificateArn, certificatePem: found.certificatePem };
    }
    return undefined;
  }

  async function withdraw(certificateId: string): Promise<void> {
    const find = () => describeArn(certificateId);
    // one that was issued here a moment ago and is not found is more likely not known yet than gone already
    const arn = await (arns.has(certificateId) ? settled(find) : find()).catch(gone);
    if (arn !== undefined) {
      const passing = ['DeleteConflictException', 'CertificateStateException'];
      const things = new Set<string>();
      await repeated(() => takeApart(client, certificateId, arn, things), passing, detachMs);
      log.info({ certificateId, things: [...things] }, 'certificate withdrawn');
    }
    arns.delete(certificateId);
  }

  async function describeEndpoint(): Promise<string> {
    const { endpointAddress } = await client.send(new DescribeEndpointCommand({ endpointType: 'iot:Data-ATS' }));
    return must(endpointAddress, 'DescribeEndpoint');
  }

  return {
    issue: (key) =>
      translated(key === 'rsa' ? 'CreateKeysAndCertificate' : 'CreateCertificateFromCsr', async () => {
        const certificate = await create(creator, key);
        remember(arns, certificate);
        return certificate;
      }),
    ensureThing: (thingName, thingTypeName) =>
      translated('CreateThing', async () => {
        await client
          .send(new CreateThingCommand({ thingName, ...(thingTypeName === undefined ? {} : { thingTypeName }) }))
          .catch(unless('ResourceAlreadyExistsException'));
      }),
    attach: (identity) => translated('AttachPolicy, AttachThingPrincipal', () => attach(identity)),
    activate: (certificateId) =>
      translated('UpdateCertificate', async () => {
        await client.send(new UpdateCertificateCommand({ certificateId, newStatus: 'ACTIVE' }));
        arns.delete(certificateId);
      }),
    deactivate: (certificateId) =>
      translated('UpdateCertificate', async () => {
        await client.send(new UpdateCertificateCommand({ certificateId, newStatus: 'INACTIVE' })).catch(gone);
      }),
    findInactive: (...wanted) => translated('DescribeCertificate', () => findInactive(...wanted)),
    listCertificates,
    describeCertificate: (certificateId) => translated('DescribeCertificate', () => describeCertificate(certificateId)),
    isAttached: (certificateId) =>
      translated('ListAttachedPolicies, ListPrincipalThings', async () => {
        const arn = arns.get(certificateId) ?? (await describeArn(certificateId).catch(gone));
        if (arn === undefined) return false;
        const [policies, things] = await Promise.all([attachedPolicies(client, arn), attachedThings(client, arn)]);
        return policies.length + things.length > 0;
      }),
    withdraw: (certificateId) => translated('withdraw', () => withdraw(certificateId)),
    removeThing: (thingName) =>
      translated('DeleteThing', async () => {
        // it still seems to have the certificate that was detached from it a moment ago
        await repeated(() => client.send(new DeleteThingCommand({ thingName })), ['InvalidRequestException'], detachMs);
      }),
    endpoint() {
      endpoint ??= translated('DescribeEndpoint', describeEndpoint).catch((error: unknown) => {
        endpoint = undefined;
        throw error;
      });
      return endpoint;
    },
    close() {
      creator.destroy();
      client.destroy();
    },
  };
}

function statusOf(status: string | undefined): CertificateStatus {
  if (status === 'ACTIVE') return 'active';
  return status === 'INACTIVE' ? 'inactive' : 'other';
}

/** Lets a client make so many calls a second of each operation, evenly. */
function deviceRate(client: IoTClient, callsPerSecond: number): void {
  const nextAt = new Map<string, number>();
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const operation = context.commandName ?? '';
      const at = Math.max(Date.now(), nextAt.get(operation) ?? 0);
      nextAt.set(operation, at + 1000 / callsPerSecond);
      await sleep(at - Date.now());
      return next(args);
    },
    { step: 'initialize', name: 'pace' },
  );
}

function partsOf(certificatePem: string): Pick<CertificateDescription, 'keyDigest' | 'subject'> {
  const certificate = new X509Certificate(certificatePem);
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' });
  const subject = Object.fromEntries(
    certificate.subject.split('\n').map((line): [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  return { keyDigest: createHash('sha256').update(spki).digest('hex'), subject };
}

async function create(creator: IoTClient, key: KeySource): Promise<Certificate> {
  if (key === 'rsa') {
    const made = await creator.send(new CreateKeysAndCertificateCommand({ setAsActive: false }));
    return { ...named(made), privateKeyPem: must(made.keyPair?.PrivateKey, 'CreateKeysAndCertificate') };
  }
  try {
    return named(
      await creator.send(
        new CreateCertificateFromCsrCommand({ certificateSigningRequest: key.csrPem, setAsActive: false }),
      ),
    );
  } catch (error) {
    if (nameOf(error) === 'InvalidRequestException') throw new CsrRefused(error instanceof Error ? error.message : '');
    throw error;
  }
}

function named(made: {
  certificateId?: string | undefined;
  certificateArn?: string | undefined;
  certificatePem?: string | undefined;
}): Certificate {
  return {
    certificateId: must(made.certificateId, 'create'),
    certificateArn: must(made.certificateArn, 'create'),
    certificatePem: must(made.certificatePem, 'create'),
  };
}

/**
 * Deactivate, detach from everything, delete: nothing less, since an inactive certificate could be activated again. It
 * conflicts until AWS has detached what it was asked to, and when somebody attaches or activates meanwhile: done again
 * from the start, it meets both.
 * @param seen is given the things that it was attached to
 * @see https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteCertificate.html
 */
async function takeApart(client: IoTClient, certificateId: string, arn: string, seen: Set<string>): Promise<void> {
  await client.send(new UpdateCertificateCommand({ certificateId, newStatus: 'INACTIVE' })).catch(gone);
  const [policies, things] = await Promise.all([attachedPolicies(client, arn), attachedThings(client, arn)]);
  for (const thing of things) seen.add(thing);
  await together([
    ...policies.map((policyName) => client.send(new DetachPolicyCommand({ policyName, target: arn })).catch(gone)),
    ...things.map((thingName) =>
      client.send(new DetachThingPrincipalCommand({ thingName, principal: arn })).catch(gone),
    ),
  ]);
  await client.send(new DeleteCertificateCommand({ certificateId })).catch(gone);
}

async function attachedPolicies(client: IoTClient, target: string): Promise<string[]> {
  const names: string[] = [];
  let marker: string | undefined;
  do {
    const page = await client.send(new ListAttachedPoliciesCommand({ target, marker })).catch(gone);
    names.push(...(page?.policies ?? []).flatMap((policy) => policy.policyName ?? []));
    marker = page?.nextMarker;
  } while (marker !== undefined && marker !== '');
  return names;
}

async function attachedThings(client: IoTClient, principal: string): Promise<string[]> {
  const names: string[] = [];
  let nextToken: string | undefined;
  do {
    const page = await client.send(new ListPrincipalThingsCommand({ principal, nextToken })).catch(gone);
    names.push(...(page?.things ?? []));
    nextToken = page?.nextToken;
  } while (nextToken !== undefined && nextToken !== '');
  return names;
}

/** AWS IoT is eventually consistent: repeats while the error is one that passes by itself, for at most `forMs`. */
async function repeated<T>(call: () => Promise<T>, passing: readonly string[], forMs: number): Promise<T> {
  const deadline = Date.now() + forMs;
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2000)) {
    try {
      return await call();
    } catch (error) {
      if (!passing.includes(nameOf(error)) || Date.now() + waitMs > deadline) throw error;
      await sleep(waitMs);
    }
  }
}

/** As Promise.all, but when it throws none of the calls is still under way: whoever catches may undo them. */
async function together(calls: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(calls)).find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

/** ARNs of certificates under way; bounded, since one that never goes live would stay for ever. */
function remember(arns: Map<string, string>, { certificateId, certificateArn }: Certificate): void {
  arns.set(certificateId, certificateArn);
  const oldest = arns.size > 1000 ? arns.keys().next().value : undefined;
  if (oldest !== undefined) arns.delete(oldest);
}

function must(value: string | undefined, operation: string): string {
  if (value === undefined) throw new Error(`${operation}: AWS IoT answered without what it promises`);
  return value;
}

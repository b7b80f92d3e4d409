import { setTimeout as sleep } from 'node:timers/promises';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreateKeysAndCertificateCommand,
  CreateThingCommand,
  DeleteCertificateCommand,
  DescribeCertificateCommand,
  DescribeEndpointCommand,
  DetachPolicyCommand,
  DetachThingPrincipalCommand,
  IoTClient,
  type IoTClientConfig,
  ListAttachedPoliciesCommand,
  ListPrincipalThingsCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import type { Log } from '../runtime/log.ts';
import {
  type Certificate,
  CsrRefused,
  type Identity,
  type Issuer,
  IssuerRefused,
  IssuerThrottled,
  type KeySource,
} from './issuer.ts';

export type AwsIssuerOptions = { readonly log: Log } & Pick<IoTClientConfig, 'region' | 'endpoint' | 'credentials'>;

/** Connections kept open, and how long to wait for one and for an answer, in milliseconds. */
const transport = {
  connectionTimeout: 5000,
  requestTimeout: 20_000,
  httpAgent: { keepAlive: true, maxSockets: 128 },
  httpsAgent: { keepAlive: true, maxSockets: 128 },
};

/** How long a resource may be unknown right after it was made, and a certificate attached right after it was detached. */
const settleMs = 10_000;

/**
 * AWS IoT Core.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/Welcome.html
 */
export function createAwsIssuer({ log, ...config }: AwsIssuerOptions): Issuer & { close(): void } {
  const clean = Object.fromEntries(Object.entries(config).filter(([, value]) => value !== undefined));
  // creating a certificate is not idempotent, and the SDK repeats by itself what it takes for failed: here it must not
  const creator = new IoTClient({ ...clean, requestHandler: transport, maxAttempts: 1 });
  const client = new IoTClient({ ...clean, requestHandler: transport, maxAttempts: 3 });
  const arns = new Map<string, string>();
  let endpoint: Promise<string> | undefined;

  async function arnOf(certificateId: string): Promise<string> {
    const known = arns.get(certificateId);
    if (known !== undefined) return known;
    const { certificateDescription } = await client.send(new DescribeCertificateCommand({ certificateId }));
    return must(certificateDescription?.certificateArn, 'DescribeCertificate');
  }

  async function attach({ certificateId, thingName, policyName, thingGroupName }: Identity): Promise<void> {
    const arn = await arnOf(certificateId);
    await Promise.all([
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
        await client
          .send(new UpdateCertificateCommand({ certificateId, newStatus: 'INACTIVE' }))
          .catch(unless('ResourceNotFoundException'));
      }),
    withdraw: (certificateId) => translated('withdraw', () => withdraw(client, certificateId, log)),
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

/** Deactivate, detach from everything, delete: nothing less, since an inactive certificate could be activated again. */
async function withdraw(client: IoTClient, certificateId: string, log: Log): Promise<void> {
  const gone = unless('ResourceNotFoundException');
  const found = await client.send(new DescribeCertificateCommand({ certificateId })).catch(gone);
  const arn = found?.certificateDescription?.certificateArn;
  if (arn === undefined) return;
  await client.send(new UpdateCertificateCommand({ certificateId, newStatus: 'INACTIVE' })).catch(gone);
  const [policies, things] = await Promise.all([attachedPolicies(client, arn), attachedThings(client, arn)]);
  await Promise.all([
    ...policies.map((policyName) => client.send(new DetachPolicyCommand({ policyName, target: arn })).catch(gone)),
    ...things.map((thingName) =>
      client.send(new DetachThingPrincipalCommand({ thingName, principal: arn })).catch(gone),
    ),
  ]);
  // detaching a thing is asynchronous: AWS says DeleteConflict until it is done
  await settled(
    () => client.send(new DeleteCertificateCommand({ certificateId })).catch(gone),
    'DeleteConflictException',
  );
  log.info({ certificateId, things }, 'certificate withdrawn');
}

async function attachedPolicies(client: IoTClient, target: string): Promise<string[]> {
  const names: string[] = [];
  let marker: string | undefined;
  do {
    const page = await client
      .send(new ListAttachedPoliciesCommand({ target, marker }))
      .catch(unless('ResourceNotFoundException'));
    names.push(...(page?.policies ?? []).flatMap((policy) => policy.policyName ?? []));
    marker = page?.nextMarker;
  } while (marker !== undefined && marker !== '');
  return names;
}

async function attachedThings(client: IoTClient, principal: string): Promise<string[]> {
  const names: string[] = [];
  let nextToken: string | undefined;
  do {
    const page = await client
      .send(new ListPrincipalThingsCommand({ principal, nextToken }))
      .catch(unless('ResourceNotFoundException'));
    names.push(...(page?.things ?? []));
    nextToken = page?.nextToken;
  } while (nextToken !== undefined && nextToken !== '');
  return names;
}

/** AWS IoT is eventually consistent: repeats while the answer is one that settles by itself. */
async function settled<T>(call: () => Promise<T>, passing = 'ResourceNotFoundException'): Promise<T> {
  const deadline = Date.now() + settleMs;
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2000)) {
    try {
      return await call();
    } catch (error) {
      if (nameOf(error) !== passing || Date.now() + waitMs > deadline) throw error;
      await sleep(waitMs);
    }
  }
}

/** Errors are told apart by name, never by their text. */
function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : '';
}

function unless(expected: string) {
  return (error: unknown): undefined => {
    if (nameOf(error) !== expected) throw error;
  };
}

/**
 * What a person must change, by the error's name.
 * @see https://docs.aws.amazon.com/iot/latest/apireference/CommonErrors.html
 */
const cures: Readonly<Record<string, string>> = {
  AccessDeniedException: "give the worker's IAM identity the permission that the message names",
  UnauthorizedException: "give the worker's IAM identity the permission that the message names",
  UnrecognizedClientException: "the worker's AWS credentials are not valid; renew them",
  InvalidSignatureException: "the worker's AWS credentials are not valid, or its clock is wrong",
  ExpiredTokenException: "the worker's AWS credentials have expired; renew them",
  LimitExceededException: 'a limit of the account is reached; remove what is not needed, or ask AWS to raise it',
  ServiceQuotaExceededException: 'a quota of the account is reached; remove what is not needed, or ask AWS to raise it',
  MalformedPolicyException: 'the IoT policy is not valid; correct it',
  ResourceNotFoundException:
    'the policy, thing type or thing group that the row or CVM_POLICY_NAME names is not there; create it (cvm aws setup makes the policy) or correct the name',
};

/** The one place where AWS's errors become ours. */
async function translated<T>(operation: string, call: () => Promise<T>): Promise<T> {
  try {
    return await call();
  } catch (error) {
    const name = nameOf(error);
    if (/^(Throttling|ThrottlingException|TooManyRequestsException)$/.test(name)) throw new IssuerThrottled(operation);
    const cure = cures[name];
    if (cure !== undefined && error instanceof Error) throw new IssuerRefused(operation, error, cure);
    throw error;
  }
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

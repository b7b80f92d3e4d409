import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AttachThingPrincipalCommand,
  CreateThingCommand,
  CreateThingGroupCommand,
  DeletePolicyCommand,
  GetPolicyCommand,
  IoTClient,
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListPrincipalThingsCommand,
  ListThingGroupsForThingCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { pino } from 'pino';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createAwsGate } from '../../aws/gate.ts';
import { type AwsLocalOptions, startAwsLocal } from '../../aws-local/main.ts';
import { createAwsIssuer, type Patience } from '../../issuer/aws-iot.ts';
import { connectIotClients, type IotCalls, openIot } from '../../issuer/iot-calls.ts';
import { ensurePolicy } from '../../issuer/setup.ts';
import { type CertificateState, issuerContract, policyName } from './issuer-suite.ts';

const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };

/** Shorter than usual: what the tests wait for is settled in a moment, or never. */
const impatient: Patience = { settleMs: 1000, detachMs: 5000 };

function openIssuer(endpoint: string, { region = 'us-east-1', answerMs = 5000 } = {}) {
  const clients = connectIotClients({ region, endpoint, credentials, answerMs });
  const calls = openIot(clients, createAwsGate({ table: 'devices', region: clients.region }));
  const issuer = createAwsIssuer({ iot: calls, log: pino({ level: 'silent' }), patience: impatient });
  return { issuer, calls, close: clients.close };
}

async function open(options: { answerMs?: number; aws?: Partial<AwsLocalOptions>; region?: string } = {}) {
  const { aws: change, region = 'us-east-1', ...rest } = options;
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-issuer-'));
  const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off', keyPool: 4, region, ...change });
  const iot = new IoTClient({ region, endpoint: aws.httpUrl, credentials });
  const { issuer, calls, close } = openIssuer(aws.httpUrl, { region, ...rest });
  await ensurePolicy(calls, policyName);
  return {
    aws,
    iot,
    calls,
    issuer,
    fault: (kind: 'throttle' | 'fail-before' | 'act-and-lose-answer', key: 'rsa' | 'csr') =>
      aws.faults.set([
        { operation: key === 'rsa' ? 'CreateKeysAndCertificate' : 'CreateCertificateFromCsr', kind, times: 1 },
      ]),
    async inspect(): Promise<CertificateState[]> {
      const { certificates = [] } = await iot.send(new ListCertificatesCommand({ pageSize: 250 }));
      return Promise.all(
        certificates.map(async ({ certificateId = '', certificateArn: arn, status }) => {
          const { policies = [] } = await iot.send(new ListAttachedPoliciesCommand({ target: arn }));
          const { things = [] } = await iot.send(new ListPrincipalThingsCommand({ principal: arn }));
          return {
            certificateId,
            active: status === 'ACTIVE',
            things,
            policies: policies.map((policy) => policy.policyName ?? ''),
          };
        }),
      );
    },
    async close() {
      close();
      iot.destroy();
      await aws.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

issuerContract('AWS IoT', open);

describe('AWS IoT', () => {
  it('takes a thing that is gone for removed, also where DeleteThing answers that it is not there', async () => {
    const under = await open();
    under.aws.faults.set([
      { operation: 'DeleteThing', kind: 'fail-before', errorName: 'ResourceNotFoundException', status: 404 },
    ]);
    await expect(under.issuer.removeThing('gone')).resolves.toBeUndefined();
    await under.close();
  });

  it('names what else is attached to a thing that cannot be removed, and the cure', async () => {
    const under = await open();
    await under.issuer.ensureThing('shared');
    const { certificateArn } = await under.issuer.issue('rsa');
    await under.iot.send(new AttachThingPrincipalCommand({ thingName: 'shared', principal: certificateArn }));
    await expect(under.issuer.removeThing('shared')).rejects.toMatchObject({
      name: 'UpstreamRefused',
      cure: expect.stringMatching(
        new RegExp(
          `the thing shared .*${certificateArn}.*detach-thing-principal --thing-name shared --principal ${certificateArn}`,
        ),
      ),
    });
    await under.close();
  });

  let opened: Awaited<ReturnType<typeof open>>;
  beforeEach(async () => {
    opened = await open();
  });
  afterEach(() => opened.close());

  /** AWS answers the next `times` calls of this operation with an error, and does nothing. */
  const first = (times: number, operation: string, errorName: string, status: number) => ({
    operation,
    kind: 'fail-before',
    errorName,
    status,
    times,
  });

  it('asks for the endpoint once, and again only when that failed', async () => {
    const { aws, issuer } = opened;
    aws.faults.set([{ operation: 'DescribeEndpoint', kind: 'fail-before', times: 3 }]);
    await expect(issuer.endpoint()).rejects.toThrow();
    await issuer.endpoint();
    aws.faults.set([{ operation: 'DescribeEndpoint', kind: 'fail-before' }]);
    expect(await issuer.endpoint()).toBe('localhost');
  });

  it.each(['ensureThing', 'attach', 'activate', 'deactivate', 'withdraw', 'endpoint'] as const)(
    'throws UpstreamThrottled when %s is throttled for longer than the SDK repeats it',
    async (name) => {
      const { aws, issuer } = opened;
      const { certificateId } = await issuer.issue('rsa');
      aws.faults.set([{ operation: '*', kind: 'throttle' }]);
      const calls = {
        ensureThing: () => issuer.ensureThing('T'),
        attach: () => issuer.attach({ certificateId, thingName: 'T', policyName }),
        activate: () => issuer.activate(certificateId),
        deactivate: () => issuer.deactivate(certificateId),
        withdraw: () => issuer.withdraw(certificateId),
        endpoint: () => issuer.endpoint(),
      };
      await expect(calls[name]()).rejects.toMatchObject({ name: 'UpstreamThrottled' });
    },
  );

  it.each(['LimitExceededException', 'UnauthorizedException', 'MalformedPolicyException', 'InvalidRequestException'])(
    'gives the operator the cure of %s',
    async (errorName) => {
      const { aws, issuer } = opened;
      aws.faults.set([{ operation: 'CreateThing', kind: 'fail-before', errorName, status: 400 }]);
      await expect(issuer.ensureThing('T')).rejects.toMatchObject({
        name: 'UpstreamRefused',
        cure: expect.stringMatching(/.{20,}/),
      });
    },
  );

  it('refuses a thing type that does not exist, with the cure', async () => {
    await expect(opened.issuer.ensureThing('T', 'no-such-type')).rejects.toMatchObject({ name: 'UpstreamRefused' });
  });

  it('accepts a thing that exists already with other attributes', async () => {
    const { iot, issuer } = opened;
    await iot.send(new CreateThingCommand({ thingName: 'T', attributePayload: { attributes: { site: 'north' } } }));
    await issuer.ensureThing('T');
  });

  it('adds the thing to its group, also when it is repeated', async () => {
    const { iot, issuer } = opened;
    await iot.send(new CreateThingGroupCommand({ thingGroupName: 'plant' }));
    const { certificateId } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    const identity = { certificateId, thingName: 'T', policyName, thingGroupName: 'plant' };
    for (const _twice of [1, 2]) await issuer.attach(identity);
    const { thingGroups = [] } = await iot.send(new ListThingGroupsForThingCommand({ thingName: 'T' }));
    expect(thingGroups.map(({ groupName }) => groupName)).toEqual(['plant']);
  });

  it('attaches a certificate that AWS does not find in the first moment after it was made', async () => {
    const { aws, issuer, inspect } = opened;
    const { certificateId } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    aws.faults.set([
      first(2, 'AttachPolicy', 'ResourceNotFoundException', 404),
      first(1, 'AttachThingPrincipal', 'ResourceNotFoundException', 404),
    ]);
    await issuer.attach({ certificateId, thingName: 'T', policyName });
    expect(await inspect()).toMatchObject([{ things: ['T'], policies: [policyName] }]);
  });

  it('attaches a certificate that another process issued a moment ago', async () => {
    const { aws, issuer, inspect } = opened;
    const { certificateId } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    const other = openIssuer(aws.httpUrl);
    aws.faults.set([first(1, 'DescribeCertificate', 'ResourceNotFoundException', 404)]);
    await other.issuer.attach({ certificateId, thingName: 'T', policyName });
    other.close();
    expect(await inspect()).toMatchObject([{ things: ['T'], policies: [policyName] }]);
  });

  it('throws from attach only after all calls of attach have ended', async () => {
    const { aws, issuer, inspect } = opened;
    const { certificateId } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    aws.faults.set([
      first(1, 'AttachPolicy', 'UnauthorizedException', 401),
      { operation: 'AttachThingPrincipal', kind: 'latency', ms: 300 },
    ]);
    await expect(issuer.attach({ certificateId, thingName: 'T', policyName })).rejects.toThrow();
    expect(await inspect()).toMatchObject([{ things: ['T'] }]);
  });

  it('withdraws a certificate that AWS does not find in the first moment after it was made', async () => {
    const { aws, issuer, inspect } = opened;
    const { certificateId } = await issuer.issue('rsa');
    aws.faults.set([first(2, 'DescribeCertificate', 'ResourceNotFoundException', 404)]);
    await issuer.withdraw(certificateId);
    expect(await inspect()).toEqual([]);
  });

  it('withdraws a certificate that another process activates and attaches again meanwhile', async () => {
    const { aws, iot, issuer, inspect } = opened;
    const { certificateId, certificateArn: principal } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    aws.faults.set([first(1000, 'DeleteCertificate', 'DeleteConflictException', 409)]);
    const withdrawn = issuer.withdraw(certificateId);
    // a first pass has ended; none deletes before the other process is done
    await expect.poll(() => aws.faults.struck()['DeleteCertificate fail-before']).toBeGreaterThan(0);
    await iot.send(new AttachThingPrincipalCommand({ thingName: 'T', principal }));
    await iot.send(new UpdateCertificateCommand({ certificateId, newStatus: 'ACTIVE' }));
    aws.faults.set([]);
    await withdrawn;
    expect(await inspect()).toEqual([]);
  });

  it('withdraws a certificate that a person revoked: its status cannot be changed any more', async () => {
    const { iot, issuer, inspect } = opened;
    const { certificateId } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    await issuer.attach({ certificateId, thingName: 'T', policyName });
    await issuer.activate(certificateId);
    await iot.send(new UpdateCertificateCommand({ certificateId, newStatus: 'REVOKED' }));
    await issuer.deactivate(certificateId);
    await expect(issuer.activate(certificateId)).rejects.toMatchObject({
      name: 'UpstreamRefused',
      cure: expect.stringMatching(/is REVOKED .*cvm devices reissue/),
    });
    await issuer.withdraw(certificateId);
    expect(await inspect()).toEqual([]);
  });

  it('does not take a certificate for deactivated that AWS leaves ACTIVE', async () => {
    const { aws, issuer } = opened;
    const { certificateId } = await issuer.issue('rsa');
    await issuer.activate(certificateId);
    aws.faults.set([first(1, 'UpdateCertificate', 'CertificateStateException', 406)]);
    await expect(issuer.deactivate(certificateId)).rejects.toMatchObject({ name: 'CertificateStateException' });
    await issuer.withdraw(certificateId);
  });

  it('withdraws a certificate that another process withdraws to the end meanwhile', async () => {
    const { aws, issuer, inspect } = opened;
    const { certificateId } = await issuer.issue('rsa');
    await issuer.ensureThing('T');
    await issuer.attach({ certificateId, thingName: 'T', policyName });
    aws.faults.set([{ operation: 'DetachPolicy', kind: 'stall', ms: 1500, times: 1 }]);
    const withdrawn = issuer.withdraw(certificateId);
    await expect.poll(() => aws.faults.struck()).toMatchObject({ 'DetachPolicy stall': 1 });
    const other = openIssuer(aws.httpUrl);
    await other.issuer.withdraw(certificateId);
    other.close();
    expect(await inspect()).toEqual([]);
    // its DetachPolicy arrives now, and AWS calls the target that is gone invalid
    await withdrawn;
  });

  it('leaves an existing policy unchanged, and creates one policy when several set-ups run at once', async () => {
    const { iot, calls } = opened;
    expect(await ensurePolicy(calls, policyName)).toBe('exists');
    await iot.send(new DeletePolicyCommand({ policyName }));
    const outcomes = await Promise.all([1, 2, 3].map(() => ensurePolicy(calls, policyName)));
    expect(outcomes.sort()).toEqual(['created', 'exists', 'exists']);
  });

  it('makes a policy without iot:* that fits into 2048 characters', async () => {
    const { policyDocument = '' } = await opened.iot.send(new GetPolicyCommand({ policyName }));
    expect(policyDocument).not.toContain('"iot:*"');
    expect(policyDocument).toContain('iot:Connection.Thing.IsAttached');
    expect(policyDocument).toContain('"arn:aws:iot:');
    expect(policyDocument.length).toBeLessThan(2048);
  });
});

it('waits until AWS has detached the thing before it deletes', async () => {
  const { issuer, inspect, close } = await open({ aws: { detachMs: 800 } });
  const { certificateId } = await issuer.issue('rsa');
  await issuer.ensureThing('T');
  await issuer.attach({ certificateId, thingName: 'T', policyName });
  await issuer.activate(certificateId);
  await issuer.withdraw(certificateId);
  expect(await inspect()).toEqual([]);
  await close();
});

it('gives up waiting for the answer of a create call, and does not repeat the call', async () => {
  const { aws, inspect, close } = await open();
  // set up by the patient one
  const { issuer, close: closeHasty } = openIssuer(aws.httpUrl, { answerMs: 300 });
  aws.faults.set([{ operation: 'CreateKeysAndCertificate', kind: 'stall', ms: 1000 }]);
  await expect(issuer.issue('rsa')).rejects.toMatchObject({ name: 'TimeoutError' });
  await expect.poll(inspect).toHaveLength(1);
  // a repeated call would make a second certificate within this time
  await new Promise((resolve) => setTimeout(resolve, 1500));
  expect(await inspect()).toHaveLength(1);
  closeHasty();
  await close();
});

it.each([
  ['cn-north-1', 'arn:aws-cn:iot:'],
  ['us-gov-west-1', 'arn:aws-us-gov:iot:'],
])('writes the partition of %s into the policy', async (region, arn) => {
  const { iot, close } = await open({ region });
  const { policyDocument = '' } = await iot.send(new GetPolicyCommand({ policyName }));
  expect(policyDocument).toContain(arn);
  expect(policyDocument).not.toContain('arn:aws:');
  await close();
});

it('a certificate whose id AWS cannot know, of a row that another tool wrote, is not there: no call is made about it', async () => {
  const never = () => Promise.reject(new Error('AWS refuses such an id as an invalid request, again and again'));
  const iot = new Proxy({}, { get: () => never }) as IotCalls;
  const issuer = createAwsIssuer({ iot, log: pino({ level: 'silent' }) });
  for (const id of ['', 'c', 'not yet', `arn:aws:iot:us-east-1:000000000000:cert/${'ab'.repeat(32)}`]) {
    await issuer.withdraw(id);
    await issuer.deactivate(id);
    expect(await issuer.describeCertificate(id)).toBeUndefined();
    expect(await issuer.thingsOf(id)).toEqual([]);
    expect(await issuer.isAttached(id)).toBe(false);
    // an operator who unblocks is told that the certificate is gone
    await expect(issuer.activate(id)).rejects.toThrow();
  }
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  GetPolicyCommand,
  IoTClient,
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListPrincipalThingsCommand,
} from '@aws-sdk/client-iot';
import { pino } from 'pino';
import { expect, it } from 'vitest';
import { startAwsLocal } from '../../aws-local/main.ts';
import { createAwsIssuer } from '../../worker/aws-iot.ts';
import { ensurePolicy } from '../../worker/aws-setup.ts';
import { type Inspected, issuerContract, policyName } from './issuer-suite.ts';

const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };

async function open() {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-issuer-'));
  const aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off', keyPool: 4 });
  const iot = new IoTClient({ region: 'us-east-1', endpoint: aws.httpUrl, credentials });
  await ensurePolicy(iot, policyName);
  const issuer = createAwsIssuer({
    region: 'us-east-1',
    endpoint: aws.httpUrl,
    credentials,
    log: pino({ level: 'silent' }),
  });
  return {
    aws,
    iot,
    issuer,
    fault: (kind: 'throttle' | 'fail-before' | 'act-and-lose-answer') =>
      aws.faults.set([{ operation: 'CreateKeysAndCertificate', kind, times: 1 }]),
    async inspect(): Promise<Inspected[]> {
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
      issuer.close();
      iot.destroy();
      await aws.close();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

issuerContract('AWS IoT', open);

it('asks for the endpoint once, and again only when that failed', async () => {
  const { aws, issuer, close } = await open();
  aws.faults.set([{ operation: 'DescribeEndpoint', kind: 'fail-before', times: 3 }]);
  await expect(issuer.endpoint()).rejects.toThrow();
  await issuer.endpoint();
  aws.faults.set([{ operation: 'DescribeEndpoint', kind: 'fail-before' }]);
  expect(await issuer.endpoint()).toBe('localhost');
  await close();
});

it('makes a policy that says nothing of iot:* and fits into 2048 characters, and leaves one that is there alone', async () => {
  const { iot, close } = await open();
  expect(await ensurePolicy(iot, policyName)).toBe('exists');
  const { policyDocument = '' } = await iot.send(new GetPolicyCommand({ policyName }));
  expect(policyDocument).not.toContain('"iot:*"');
  expect(policyDocument).toContain('iot:Connection.Thing.IsAttached');
  expect(policyDocument.length).toBeLessThan(2048);
  await close();
});

it.each(['LimitExceededException', 'UnauthorizedException', 'MalformedPolicyException'])(
  'tells the operator the cure of a %s',
  async (errorName) => {
    const { aws, issuer, close } = await open();
    aws.faults.set([{ operation: 'CreateThing', kind: 'fail-before', errorName, status: 400 }]);
    await expect(issuer.ensureThing('T')).rejects.toMatchObject({
      name: 'IssuerRefused',
      cure: expect.stringMatching(/.{20,}/),
    });
    await close();
  },
);

it('names a thing type that is not there as something to be cured', async () => {
  const { issuer, close } = await open();
  await expect(issuer.ensureThing('T', 'no-such-type')).rejects.toMatchObject({ name: 'IssuerRefused' });
  await close();
});

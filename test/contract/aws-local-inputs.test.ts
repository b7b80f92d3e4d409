import { generateKeyPairSync, type webcrypto } from 'node:crypto';
import {
  AddThingToThingGroupCommand,
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreateThingCommand,
  CreateThingGroupCommand,
  DescribeCertificateCommand,
  DescribeEndpointCommand,
  DetachPolicyCommand,
  GetPolicyCommand,
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListPrincipalThingsCommand,
  ListThingsCommand,
  RegisterThingCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Pkcs10CertificateRequestGenerator } from '../../runtime/x509.ts';
import { devicePolicy, makeEcKey, openStandIn, refusedWith, type StandIn } from './aws-local-fixture.ts';

const invalid = 'InvalidRequestException';
const id = 'a'.repeat(64);

describe('the AWS stand-in takes only what the service model allows', () => {
  let standIn: StandIn;
  beforeAll(async () => {
    standIn = await openStandIn();
    await standIn.create('device', devicePolicy);
    await standIn.iot().send(new CreateThingCommand({ thingName: 'T' }));
    await standIn.iot().send(new CreateThingGroupCommand({ thingGroupName: 'G' }));
  });
  afterAll(() => standIn.close());
  const send = (command: object) => standIn.iot().send(command as DescribeEndpointCommand);

  it.each([
    ['a thing name of 129 characters', new CreateThingCommand({ thingName: 'a'.repeat(129) })],
    ['a thing name with a slash', new CreateThingCommand({ thingName: 'a/b' })],
    ['a thing type name with a blank', new CreateThingCommand({ thingName: 'x', thingTypeName: 'a b' })],
    ['a policy name with a colon', new GetPolicyCommand({ policyName: 'a:b' })],
    ['a policy name of 129 characters', new GetPolicyCommand({ policyName: 'a'.repeat(129) })],
    ['a certificate id of 63 digits', new DescribeCertificateCommand({ certificateId: 'a'.repeat(63) })],
    [
      'a certificate id with a letter that is no digit',
      new DescribeCertificateCommand({ certificateId: 'g'.repeat(64) }),
    ],
    ['an empty page', new ListCertificatesCommand({ pageSize: 0 })],
    ['a page of 251', new ListCertificatesCommand({ pageSize: 251 })],
    ['a page of 251 things', new ListThingsCommand({ maxResults: 251 })],
    ['a marker that is not base64', new ListCertificatesCommand({ marker: '~' })],
    ['a marker that no list gave', new ListCertificatesCommand({ marker: 'MTA=' })],
    ['a token that no list gave', new ListThingsCommand({ nextToken: '10' })],
    ['a CSR of 4097 characters', new CreateCertificateFromCsrCommand({ certificateSigningRequest: 'a'.repeat(4097) })],
    ['no CSR', new CreateCertificateFromCsrCommand({ certificateSigningRequest: undefined })],
    ['an unknown status', new UpdateCertificateCommand({ certificateId: id, newStatus: 'GONE' as 'ACTIVE' })],
    ['an unknown endpoint type', new DescribeEndpointCommand({ endpointType: 'iot:Nothing' })],
    [
      'an unknown kind of attachment',
      new AttachThingPrincipalCommand({ thingName: 'T', principal: id, thingPrincipalType: 'X' as 'EXCLUSIVE_THING' }),
    ],
    ['neither a group nor its ARN', new AddThingToThingGroupCommand({ thingName: 'T' })],
  ])('and refuses %s', async (_what, command) => {
    await refusedWith(send(command), invalid);
  });

  it.each<[string, Record<string, unknown>]>([
    ['an attribute name with a blank', { 'a b': '1' }],
    ['an attribute name of 129 characters', { ['a'.repeat(129)]: '1' }],
    ['an attribute value with a blank', { a: 'b c' }],
    ['an attribute value of 801 characters', { a: 'b'.repeat(801) }],
    ['an attribute value that is a number', { a: 1 }],
    ['four attributes without a type', { a: '1', b: '2', c: '3', d: '4' }],
  ])('and refuses %s', async (_what, attributes) => {
    const answer = await standIn.raw('/things/attributes', {
      method: 'POST',
      body: JSON.stringify({ attributePayload: { attributes } }),
    });
    expect(answer).toMatchObject({ status: 400, name: invalid });
  });

  it.each([
    ['a path parameter that is no UTF-8', '/things/%ff', 'GET'],
    ['a page size that is no number', '/things?maxResults=ten', 'GET'],
    ['a flag that is none', `/certificates/${id}?forceDelete=yes`, 'DELETE'],
    ['a call without a principal', '/principals/things', 'GET'],
    ['a call without a new status', `/certificates/${id}`, 'PUT'],
    ['a call without a target', '/target-policies/device', 'PUT'],
  ])('and refuses %s', async (_what, path, method) => {
    expect(await standIn.raw(path, { method })).toMatchObject({ status: 400, name: invalid });
  });

  it('and does not say that a resource is not found where it lacks the operation', async () => {
    expect(await standIn.raw('/billing-groups/x')).toMatchObject({ status: 404, name: 'UnknownOperationException' });
  });

  it('and no template whose policy or thing type does not exist', async () => {
    const { csrPem } = await makeEcKey('S');
    const templateBody = JSON.stringify({
      Resources: {
        certificate: { Type: 'AWS::IoT::Certificate', Properties: { CertificateSigningRequest: csrPem } },
        policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'unknown' } },
      },
    });
    await refusedWith(send(new RegisterThingCommand({ templateBody })), 'ResourceRegistrationFailureException');
    await refusedWith(send(new RegisterThingCommand({ templateBody: '{}' })), invalid);
  });

  describe('and only ARNs of its own account and region as targets and principals:', () => {
    const arn = (change: (good: string) => string) => change(`arn:aws:iot:us-east-1:000000000000:cert/${id}`);
    const bad: [string, string][] = [
      ['a certificate id', id],
      ['nonsense', 'nonsense'],
      ['an empty string', ''],
      ['another partition', arn((good) => good.replace(':aws:', ':aws-cn:'))],
      ['another service', arn((good) => good.replace(':iot:', ':iam:'))],
      ['another region', arn((good) => good.replace('us-east-1', 'eu-west-1'))],
      ['another account', arn((good) => good.replace('000000000000', '111111111111'))],
      ['another kind', arn((good) => good.replace(':cert/', ':policy/'))],
      ['a short id', arn((good) => good.slice(0, -1))],
      ['a second slash', arn((good) => good.replace(':cert/', ':cert/x/'))],
    ];
    it.each(bad)('not %s', async (_what, target) => {
      await refusedWith(send(new AttachPolicyCommand({ policyName: 'device', target })), invalid);
      await refusedWith(send(new DetachPolicyCommand({ policyName: 'unknown', target })), invalid);
      if (target !== '') await refusedWith(send(new ListAttachedPoliciesCommand({ target })), invalid);
      await refusedWith(send(new AttachThingPrincipalCommand({ thingName: 'T', principal: target })), invalid);
      await refusedWith(send(new ListPrincipalThingsCommand({ principal: target })), invalid);
    });

    it('and says ResourceNotFoundException where the ARN is right and there is no such resource', async () => {
      const notFound = 'ResourceNotFoundException';
      const target = arn((good) => good);
      const group = 'arn:aws:iot:us-east-1:000000000000:thinggroup/none';
      await refusedWith(send(new AttachPolicyCommand({ policyName: 'device', target })), notFound);
      await refusedWith(send(new AttachPolicyCommand({ policyName: 'device', target: group })), notFound);
      await refusedWith(send(new ListAttachedPoliciesCommand({ target })), notFound);
      await refusedWith(send(new AttachThingPrincipalCommand({ thingName: 'T', principal: target })), notFound);
      await refusedWith(send(new ListPrincipalThingsCommand({ principal: target })), notFound);
    });

    it('but calls a target that is gone invalid where a policy is detached from it, and minds no policy that is gone', async () => {
      const { arn: target } = await standIn.fromCsr();
      await send(new DetachPolicyCommand({ policyName: 'unknown', target }));
      await refusedWith(send(new DetachPolicyCommand({ policyName: 'device', target: arn((good) => good) })), invalid);
    });

    it('and takes the ARN of a thing group as a target', async () => {
      const target = 'arn:aws:iot:us-east-1:000000000000:thinggroup/G';
      await send(new AttachPolicyCommand({ policyName: 'device', target }));
      const { policies = [] } = await standIn.iot().send(new ListAttachedPoliciesCommand({ target }));
      expect(policies.map(({ policyName }) => policyName)).toEqual(['device']);
    });
  });

  describe('and certifies only a CSR', () => {
    const ecdsa = (namedCurve: string) => ({ name: 'ECDSA', namedCurve, hash: 'SHA-256' });
    const rsa = (modulusLength: number) => ({
      name: 'RSASSA-PKCS1-v1_5',
      hash: 'SHA-256',
      publicExponent: new Uint8Array([1, 0, 1]),
      modulusLength,
    });
    async function csrOf(algorithm: { name: string }): Promise<string> {
      const keys = (await crypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as webcrypto.CryptoKeyPair;
      const request = { name: 'CN=x', keys, signingAlgorithm: algorithm };
      return (await Pkcs10CertificateRequestGenerator.create(request as never)).toString('pem');
    }
    const certify = (certificateSigningRequest: string) =>
      standIn.iot().send(new CreateCertificateFromCsrCommand({ certificateSigningRequest }));

    it.each([
      ['P-256', ecdsa('P-256')],
      ['P-384', ecdsa('P-384')],
      ['P-521', ecdsa('P-521')],
      ['RSA 2048', rsa(2048)],
    ])('with a %s key', async (_name, algorithm) => {
      expect((await certify(await csrOf(algorithm))).certificateId).toHaveLength(64);
    });

    it.each([
      ['RSA 1024', rsa(1024)],
      ['Ed25519', { name: 'Ed25519' }],
    ])('and not with a %s key', async (_name, algorithm) => {
      await refusedWith(certify(await csrOf(algorithm)), invalid);
    });

    it('that is signed by its own key', async () => {
      const { csrPem } = await makeEcKey('S');
      const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey.export({
        type: 'spki',
        format: 'der',
      });
      const der = Buffer.from(csrPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
      // the point is the last 64 bytes of an SPKI: the request now names another key
      const at = der.indexOf(Buffer.from('034200', 'hex')) + 4;
      other.copy(der, at, other.length - 64);
      const forged = `-----BEGIN CERTIFICATE REQUEST-----\n${der.toString('base64')}\n-----END CERTIFICATE REQUEST-----\n`;
      await refusedWith(certify(forged), invalid);
    });
  });
});

it.each([
  ['cn-north-1', 'arn:aws-cn:iot:cn-north-1:123456789012:'],
  ['us-gov-west-1', 'arn:aws-us-gov:iot:us-gov-west-1:123456789012:'],
  ['eu-central-1', 'arn:aws:iot:eu-central-1:123456789012:'],
])('in %s, the AWS stand-in gives and takes ARNs of that partition, region and account', async (region, prefix) => {
  const standIn = await openStandIn({ region, account: '123456789012' });
  expect(standIn.aws().region).toBe(region);
  const { policyArn } = await standIn.create('device', devicePolicy);
  expect(policyArn).toBe(`${prefix}policy/device`);
  const { arn } = await standIn.fromCsr();
  expect(arn.startsWith(`${prefix}cert/`)).toBe(true);
  const iot = standIn.iot();
  await iot.send(new AttachPolicyCommand({ policyName: 'device', target: arn }));
  const usual = arn.replace(prefix, 'arn:aws:iot:us-east-1:123456789012:');
  await refusedWith(iot.send(new AttachPolicyCommand({ policyName: 'device', target: usual })), invalid);
  await standIn.close();
});

import { createHash, X509Certificate } from 'node:crypto';
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreateKeysAndCertificateCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  DeleteCertificateCommand,
  DescribeCertificateCommand,
  DetachPolicyCommand,
  DetachThingPrincipalCommand,
  type IoTClient,
  ListCertificatesCommand,
  ListThingsCommand,
  RegisterThingCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import type { AwsLocal } from '../../aws-local/main.ts';
import { devicePolicy as document, makeEcKey, openStandIn, type StandIn } from './aws-local-fixture.ts';

describe('the AWS stand-in', () => {
  let standIn: StandIn;
  let aws: AwsLocal;
  let iot: IoTClient;
  let vended: StandIn['vended'];
  let connect: StandIn['connect'];
  beforeAll(async () => {
    standIn = await openStandIn({ quotas: { CreatePolicy: 3 }, keyPool: 3, detachMs: 1500 });
    [aws, iot, vended, connect] = [standIn.aws(), standIn.iot(), standIn.vended, standIn.connect];
    await standIn.create('device', document);
  });
  afterAll(() => standIn.close());

  it('makes real certificates: the id is the hash of the DER, the key fits, the root signs', async () => {
    const { certificateId, certificatePem = '', keyPair } = await iot.send(new CreateKeysAndCertificateCommand({}));
    const certificate = new X509Certificate(certificatePem);
    expect(createHash('sha256').update(certificate.raw).digest('hex')).toBe(certificateId);
    expect(keyPair?.PrivateKey).toContain('BEGIN RSA PRIVATE KEY');
    expect(certificate.publicKey.export({ type: 'spki', format: 'pem' })).toBe(keyPair?.PublicKey);
  });

  it('gives another certificate for the same CSR each time', async () => {
    const { csrPem } = await makeEcKey('S');
    const ids = await Promise.all(
      [1, 2].map(
        async () =>
          (await iot.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest: csrPem }))).certificateId,
      ),
    );
    expect(new Set(ids).size).toBe(2);
  });

  it.each(['', 'nonsense', '-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----'])(
    'refuses a CSR that is none: %j',
    async (certificateSigningRequest) => {
      await expect(iot.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest }))).rejects.toMatchObject({
        name: 'InvalidRequestException',
      });
    },
  );

  it('creates a thing again only with the same configuration', async () => {
    const attributePayload = { attributes: { a: '1' } };
    const first = await iot.send(new CreateThingCommand({ thingName: 'same', attributePayload }));
    expect((await iot.send(new CreateThingCommand({ thingName: 'same', attributePayload }))).thingId).toBe(
      first.thingId,
    );
    await expect(iot.send(new CreateThingCommand({ thingName: 'same' }))).rejects.toMatchObject({
      name: 'ResourceAlreadyExistsException',
      $metadata: { httpStatusCode: 409 },
    });
  });

  it('refuses names outside the alphabet', async () => {
    await expect(iot.send(new CreateThingCommand({ thingName: 'a b' }))).rejects.toMatchObject({
      name: 'InvalidRequestException',
    });
    await expect(
      iot.send(new CreatePolicyCommand({ policyName: 'a:b', policyDocument: document })),
    ).rejects.toMatchObject({ name: 'InvalidRequestException' });
  });

  it('deletes a certificate only when it is inactive and attached to nothing', async () => {
    const { id, arn, thingName } = await vended();
    const remove = () => iot.send(new DeleteCertificateCommand({ certificateId: id }));
    await expect(remove()).rejects.toMatchObject({
      name: 'CertificateStateException',
      $metadata: { httpStatusCode: 406 },
    });
    await iot.send(new UpdateCertificateCommand({ certificateId: id, newStatus: 'INACTIVE' }));
    await expect(remove()).rejects.toMatchObject({ name: 'DeleteConflictException' });
    await iot.send(new DetachPolicyCommand({ policyName: 'device', target: arn }));
    await iot.send(new DetachThingPrincipalCommand({ thingName, principal: arn }));
    // asynchronous, as at AWS
    await expect(remove()).rejects.toMatchObject({ name: 'DeleteConflictException' });
    await vi.waitFor(remove, { timeout: 45_000, interval: 200 });
    await expect(iot.send(new DescribeCertificateCommand({ certificateId: id }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
  });

  it('keeps a certificate to one thing where the attachment is exclusive', async () => {
    const { arn } = await vended();
    await iot.send(new CreateThingCommand({ thingName: 'another' }));
    await expect(
      iot.send(new AttachThingPrincipalCommand({ thingName: 'another', principal: arn })),
    ).rejects.toMatchObject({ name: 'InvalidRequestException' });
  });

  it('lists in pages, everything once', async () => {
    await Promise.all(
      Array.from({ length: 7 }, (_, index) => iot.send(new CreateThingCommand({ thingName: `page-${index}` }))),
    );
    const names: string[] = [];
    let nextToken: string | undefined;
    do {
      const result = await iot.send(new ListThingsCommand({ maxResults: 3, nextToken }));
      names.push(...(result.things ?? []).map((thing) => thing.thingName ?? ''));
      nextToken = result.nextToken;
    } while (nextToken);
    expect(names.filter((name) => name.startsWith('page-'))).toHaveLength(7);
    expect(new Set(names).size).toBe(names.length);
  });

  it('provisions by a template', async () => {
    const templateBody = JSON.stringify({
      Parameters: { Serial: { Type: 'String' }, CSR: { Type: 'String' } },
      Resources: {
        thing: { Type: 'AWS::IoT::Thing', Properties: { ThingName: { Ref: 'Serial' } } },
        certificate: { Type: 'AWS::IoT::Certificate', Properties: { CertificateSigningRequest: { Ref: 'CSR' } } },
        policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'device' } },
      },
    });
    const { csrPem, privateKeyPem } = await makeEcKey('templated');
    const { certificatePem = '' } = await iot.send(
      new RegisterThingCommand({ templateBody, parameters: { Serial: 'templated', CSR: csrPem } }),
    );
    await (await connect({ pem: certificatePem, privateKeyPem }, 'templated')).endAsync();
  });

  it('throttles above the quota, and says so as AWS does', async () => {
    const calls = await Promise.allSettled(
      Array.from({ length: 40 }, (_, index) =>
        iot.send(new CreatePolicyCommand({ policyName: `quota-${index}`, policyDocument: document })),
      ),
    );
    const errors = calls.flatMap((call) => (call.status === 'rejected' ? [call.reason as { name: string }] : []));
    expect(errors.length).toBeGreaterThan(4);
    expect(new Set(errors.map(({ name }) => name))).toEqual(new Set(['ThrottlingException']));
  });

  describe('faults', () => {
    const count = async () =>
      (await iot.send(new ListCertificatesCommand({ pageSize: 250 }))).certificates?.length ?? 0;
    const create = async () =>
      iot.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest: (await makeEcKey('S')).csrPem }));

    it.each([
      ['fail-before', 0],
      ['throttle', 0],
      ['act-and-lose-answer', 1],
    ])('%s leaves %i certificates behind', async (kind, made) => {
      const before = await count();
      await fetch(`${aws.httpUrl}/_local/faults`, {
        method: 'PUT',
        body: JSON.stringify([{ operation: 'CreateCertificateFromCsr', kind, times: 1 }]),
      }).catch(() => {});
      aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind, times: 1 }]);
      await expect(create()).rejects.toThrow();
      expect(await count()).toBe(before + made);
      await create();
    });

    it('stalls for as long as it is told', async () => {
      aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'stall', ms: 300, times: 1 }]);
      const start = performance.now();
      await create();
      expect(performance.now() - start).toBeGreaterThanOrEqual(295);
    });

    it('refuses a rule that is none', async () => {
      expect(() => aws.faults.set([{ operation: '*', kind: 'explode' }])).toThrow();
      aws.faults.set([]);
    });
  });

  it('survives a restart, even with a last line of the journal half written', async () => {
    const device = await vended();
    const journal = join(standIn.dataDir, 'iot', 'journal.jsonl');
    await standIn.restart(() => appendFileSync(journal, '{"kind":"thing","key":"ha'));
    const described = await standIn.iot().send(new DescribeCertificateCommand({ certificateId: device.id }));
    expect(described.certificateDescription).toMatchObject({ status: 'ACTIVE', certificatePem: device.pem });
    await (await connect(device, device.thingName)).endAsync();
  });
});

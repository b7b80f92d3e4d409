import { createHash, X509Certificate } from 'node:crypto';
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreateKeysAndCertificateCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  DeleteCertificateCommand,
  DescribeCertificateCommand,
  DetachPolicyCommand,
  DetachThingPrincipalCommand,
  IoTClient,
  ListCertificatesCommand,
  ListThingsCommand,
  RegisterThingCommand,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { makeEcKey as makeMarkedKey, ownerTagOf } from '../../worker/ec-key.ts';

const makeEcKey = (serial: string) => makeMarkedKey(serial, ownerTagOf('cvm-devices'));

const document = JSON.stringify({
  Version: '2012-10-17',
  Statement: [
    {
      Effect: 'Allow',
      Action: 'iot:Connect',
      Resource: 'arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}',
      Condition: { Bool: { 'iot:Connection.Thing.IsAttached': 'true' } },
    },
    { Effect: 'Allow', Action: 'iot:Publish', Resource: 'arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}/*' },
  ],
});

describe('the AWS stand-in', () => {
  let dataDir: string;
  let aws: AwsLocal;
  let iot: IoTClient;
  let thingNumber = 0;
  const start = async () => {
    aws = await startAwsLocal({
      dataDir,
      httpPort: 0,
      mqttPort: 0,
      quotas: { CreatePolicy: 3 },
      keyPool: 3,
      detachMs: 200,
    });
    iot = new IoTClient({
      region: 'us-east-1',
      endpoint: aws.httpUrl,
      credentials: { accessKeyId: 'x', secretAccessKey: 'x' },
      maxAttempts: 1,
    });
  };
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-aws-'));
    await start();
    await iot.send(new CreatePolicyCommand({ policyName: 'device', policyDocument: document }));
  });
  afterAll(async () => {
    iot.destroy();
    await aws.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function fromCsr() {
    const key = await makeEcKey('S');
    const made = await iot.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest: key.csrPem }));
    return { ...key, id: made.certificateId ?? '', arn: made.certificateArn ?? '', pem: made.certificatePem ?? '' };
  }

  /** A thing with an active certificate and the policy. */
  async function vended() {
    const certificate = await fromCsr();
    const thingName = `thing-${++thingNumber}`;
    await iot.send(new CreateThingCommand({ thingName }));
    await iot.send(
      new AttachThingPrincipalCommand({ thingName, principal: certificate.arn, thingPrincipalType: 'EXCLUSIVE_THING' }),
    );
    await iot.send(new AttachPolicyCommand({ policyName: 'device', target: certificate.arn }));
    await iot.send(new UpdateCertificateCommand({ certificateId: certificate.id, newStatus: 'ACTIVE' }));
    return { ...certificate, thingName };
  }

  const connect = ({ pem, privateKeyPem }: { pem: string; privateKeyPem: string }, clientId: string) =>
    connectOnce({
      host: 'localhost',
      port: aws.mqttPort,
      cert: pem,
      key: privateKeyPem,
      rejectUnauthorized: false,
      clientId,
      connectTimeout: 3000,
    });

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
    await new Promise((resolve) => setTimeout(resolve, 300));
    await remove();
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
      Array.from({ length: 10 }, (_, index) =>
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

  describe('data plane', () => {
    it('admits an active certificate under the name of its thing, and lets it publish on its own topics only', async () => {
      const device = await vended();
      const client = await connect(device, device.thingName);
      await client.publishAsync(`${device.thingName}/hello`, 'x', { qos: 1 });
      const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
      client.on('error', () => {});
      client.publish('elsewhere/hello', 'x', { qos: 1 }, () => {});
      await closed;
    });

    it('refuses another client id', async () => {
      const device = await vended();
      await expect(connect(device, 'another')).rejects.toThrow();
    });

    it('refuses a certificate that is not active, not attached, or not registered', async () => {
      const inactive = await vended();
      await iot.send(new UpdateCertificateCommand({ certificateId: inactive.id, newStatus: 'INACTIVE' }));
      await expect(connect(inactive, inactive.thingName)).rejects.toThrow();
      const unattached = await fromCsr();
      await iot.send(new UpdateCertificateCommand({ certificateId: unattached.id, newStatus: 'ACTIVE' }));
      await expect(connect(unattached, 'unattached')).rejects.toThrow();
    });

    it('closes the connection of a certificate that is deactivated', async () => {
      const device = await vended();
      const client = await connect(device, device.thingName);
      const closed = new Promise<void>((resolve) => client.once('close', () => resolve()));
      await iot.send(new UpdateCertificateCommand({ certificateId: device.id, newStatus: 'INACTIVE' }));
      await closed;
    });
  });

  it('survives a restart, even with a last line of the journal half written', async () => {
    const device = await vended();
    iot.destroy();
    await aws.close();
    appendFileSync(join(dataDir, 'iot', 'journal.jsonl'), '{"kind":"thing","key":"ha');
    await start();
    expect(
      (await iot.send(new DescribeCertificateCommand({ certificateId: device.id }))).certificateDescription,
    ).toMatchObject({ status: 'ACTIVE', certificatePem: device.pem });
    await (await connect(device, device.thingName)).endAsync();
  });
});

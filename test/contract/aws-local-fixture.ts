import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  AttachPolicyCommand,
  AttachThingPrincipalCommand,
  CreateCertificateFromCsrCommand,
  CreatePolicyCommand,
  CreateThingCommand,
  IoTClient,
  UpdateCertificateCommand,
} from '@aws-sdk/client-iot';
import type { IClientOptions } from 'mqtt';
import { expect } from 'vitest';
import { type AwsLocal, type AwsLocalOptions, startAwsLocal } from '../../aws-local/main.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { makeEcKey as makeMarkedKey, ownerTagOf } from '../../worker/ec-key.ts';

export const makeEcKey = (serial: string) => makeMarkedKey(serial, ownerTagOf('cvm-devices'));

export type Statement = {
  Effect?: string;
  Action: string | string[];
  Resource: string | string[];
  Condition?: Record<string, Record<string, string | string[]>>;
};

export const policyOf = (...statements: Statement[]): string =>
  JSON.stringify({
    Version: '2012-10-17',
    Statement: statements.map((statement) => ({ Effect: 'Allow', ...statement })),
  });

export const devicePolicy = policyOf(
  {
    Action: 'iot:Connect',
    Resource: 'arn:aws:iot:*:*:client/${iot:Connection.Thing.ThingName}',
    Condition: { Bool: { 'iot:Connection.Thing.IsAttached': 'true' } },
  },
  { Action: 'iot:Publish', Resource: 'arn:aws:iot:*:*:topic/${iot:Connection.Thing.ThingName}/*' },
);

export type Credentials = { readonly pem: string; readonly privateKeyPem: string };

/** The stand-in, and a client of it that repeats nothing. */
export async function openStandIn(options: Partial<AwsLocalOptions> = {}) {
  const { region = 'us-east-1' } = options;
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-aws-'));
  let aws: AwsLocal;
  let iot: IoTClient;
  let number = 0;
  const start = async () => {
    aws = await startAwsLocal({ dataDir, httpPort: 0, mqttPort: 0, quotas: 'off', ...options });
    const credentials = { accessKeyId: 'x', secretAccessKey: 'x' };
    iot = new IoTClient({ region, endpoint: aws.httpUrl, credentials, maxAttempts: 1 });
  };
  const stop = async () => {
    iot.destroy();
    await aws.close();
  };
  await start();

  const create = (policyName: string, policyDocument: string) =>
    iot.send(new CreatePolicyCommand({ policyName, policyDocument }));

  async function fromCsr() {
    const key = await makeEcKey('S');
    const made = await iot.send(new CreateCertificateFromCsrCommand({ certificateSigningRequest: key.csrPem }));
    return { ...key, id: made.certificateId ?? '', arn: made.certificateArn ?? '', pem: made.certificatePem ?? '' };
  }

  return {
    dataDir,
    aws: () => aws,
    iot: () => iot,
    /** the answer of a request that no SDK would send */
    async raw(path: string, init: RequestInit = {}) {
      const response = await fetch(`${aws.httpUrl}${path}`, init);
      return { status: response.status, name: response.headers.get('x-amzn-errortype'), body: await response.json() };
    },
    create,
    fromCsr,
    /** A thing with an active certificate and a policy. */
    async vended({ exclusive = true, policyName = 'device' } = {}) {
      const certificate = await fromCsr();
      const thingName = `thing-${++number}`;
      const thingPrincipalType = exclusive ? 'EXCLUSIVE_THING' : 'NON_EXCLUSIVE_THING';
      await iot.send(new CreateThingCommand({ thingName }));
      await iot.send(new AttachThingPrincipalCommand({ thingName, principal: certificate.arn, thingPrincipalType }));
      await iot.send(new AttachPolicyCommand({ policyName, target: certificate.arn }));
      await iot.send(new UpdateCertificateCommand({ certificateId: certificate.id, newStatus: 'ACTIVE' }));
      return { ...certificate, thingName };
    },
    connect: ({ pem, privateKeyPem }: Credentials, clientId: string, more: Partial<IClientOptions> = {}) =>
      connectOnce({
        host: 'localhost',
        port: aws.mqttPort,
        cert: pem,
        key: privateKeyPem,
        rejectUnauthorized: false,
        clientId,
        connectTimeout: 45_000,
        ...more,
      }),
    async restart(meanwhile: () => void) {
      await stop();
      meanwhile();
      await start();
    },
    async close() {
      await stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

export type StandIn = Awaited<ReturnType<typeof openStandIn>>;

export const refusedWith = (call: Promise<unknown>, name: string) => expect(call).rejects.toMatchObject({ name });

import { createHash, X509Certificate } from 'node:crypto';
import {
  CreateThingGroupCommand,
  DescribeThingCommand,
  ListCertificatesCommand,
  ListThingGroupsForThingCommand,
  ListThingPrincipalsCommand,
} from '@aws-sdk/client-iot';
import { encode } from 'cborg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a device with a serial and a token', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('receives a certificate with which it connects to AWS IoT', async () => {
    const { serial, token } = await gateway.enrol('AA:BB:CC:00:11:22');
    const reply = await askOnce(gateway.broker, serial, { token, id: 'r-1' }, { subscribe: true });
    expect(reply).toMatchObject({ status: 'accepted', id: 'r-1', thingName: serial, endpoint: 'localhost' });
    const certificate = new X509Certificate(reply.certificatePem ?? '');
    expect(certificate.verify(new X509Certificate(reply.rootCa ?? '').publicKey)).toBe(true);
    const aws = await connectOnce({
      host: 'localhost',
      port: gateway.aws.mqttPort,
      ca: reply.rootCa ?? '',
      cert: reply.certificatePem ?? '',
      key: reply.privateKey ?? '',
      clientId: serial,
    });
    await aws.publishAsync(`${serial}/hello`, 'hello', { qos: 1 });
    await aws.endAsync();
  });

  it('holds exactly one certificate, the one that the table names', async () => {
    const { serial, token } = await gateway.enrol('one-certificate');
    const reply = await askOnce(gateway.broker, serial, { token });
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    expect(principals).toHaveLength(1);
    expect(principals?.[0]).toContain(reply.certificateId);
    expect(await gateway.registry.find(serial)).toMatchObject({
      state: 'registered',
      certificateId: reply.certificateId,
    });
    expect(await gateway.iot.send(new DescribeThingCommand({ thingName: serial }))).toMatchObject({
      thingName: serial,
    });
  });

  it('joins the thing group that it was enrolled for', async () => {
    await gateway.iot.send(new CreateThingGroupCommand({ thingGroupName: 'floor-1' }));
    const { serial, token } = await gateway.enrol('in-a-group', { thingGroupName: 'floor-1' });
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    const { thingGroups } = await gateway.iot.send(new ListThingGroupsForThingCommand({ thingName: serial }));
    expect(thingGroups?.map(({ groupName }) => groupName)).toEqual(['floor-1']);
  });

  it('gets the answer on the asking connection without having subscribed', async () => {
    const { serial, token } = await gateway.enrol('unsubscribed');
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' }, { subscribe: false })).toMatchObject({
      status: 'accepted',
    });
  });

  it('asks in CBOR, with its CSR as bytes, and hears CBOR, with certificates as bytes', async () => {
    const { serial, token } = await gateway.enrol('speaks-cbor');
    const { csrPem } = await makeDeviceKey(serial);
    const csr = Buffer.from(csrPem.replace(/-----[^-]+-----|\s/g, ''), 'base64');
    const request = Buffer.from(encode({ token, csr, id: 'c', format: 'der' }));
    const reply = await askOnce(gateway.broker, serial, request);
    expect(reply).toMatchObject({ status: 'accepted', id: 'c', thingName: serial });
    const der = Buffer.from(reply.certificatePem as unknown as Uint8Array);
    expect(createHash('sha256').update(der).digest('hex')).toBe(reply.certificateId);
    expect(await askOnce(gateway.broker, serial, Buffer.from(encode({ token: 1 })))).toMatchObject({
      errorCode: 'InvalidRequest',
    });
  });

  it('gets the same certificate and key when it asks again with the same token', async () => {
    const { serial, token } = await gateway.enrol('asks-twice');
    const first = await askOnce(gateway.broker, serial, { token, id: '1' });
    const second = await askOnce(gateway.broker, serial, { token, id: '2' });
    expect(second).toMatchObject({
      status: 'accepted',
      id: '2',
      certificateId: first.certificateId,
      certificatePem: first.certificatePem,
      privateKey: first.privateKey,
    });
  });

  it('gets one certificate when it asks ten times at once', async () => {
    const { serial, token } = await gateway.enrol('asks-ten-times');
    const replies = await Promise.all(
      Array.from({ length: 10 }, () => askOnce(gateway.broker, serial, { token, key: 'ec' })),
    );
    expect(new Set(replies.map((reply) => reply.certificateId)).size).toBe(1);
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    expect(principals).toHaveLength(1);
  });

  it('has spent its token when it acknowledges its certificate', async () => {
    const { serial, token } = await gateway.enrol('acknowledges');
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await device.client.publishAsync(`cvm/request/${serial}`, '{"key":"ec"}', { qos: 1 });
    const { certificateId } = await device.next();
    await device.client.publishAsync(`cvm/ack/${serial}`, JSON.stringify({ certificateId }), { qos: 1 });
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
    await gateway.queueIsEmpty();
    await device.client.publishAsync(`cvm/request/${serial}`, '{"key":"ec"}', { qos: 1 });
    expect(await device.next()).toMatchObject({ statusCode: 409, errorCode: 'AlreadyProvisioned' });
    await device.client.endAsync(true);
  });

  it('cannot be acknowledged on a connection without its token', async () => {
    const { serial, token } = await gateway.enrol('not-acknowledged');
    const { certificateId } = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    const stranger = await connectDevice(gateway.broker);
    await stranger.client.subscribeAsync(`cvm/reply/${serial}`, { qos: 1 });
    await stranger.client.publishAsync(`cvm/ack/${serial}`, JSON.stringify({ certificateId }), { qos: 1 });
    expect(await stranger.next()).toMatchObject({ statusCode: 401, errorCode: 'InvalidToken' });
    const guesser = await connectDevice(gateway.broker, {
      username: serial,
      password: 'a-wrong-guess-of-the-token-000',
    });
    await guesser.client.publishAsync(`cvm/ack/${serial}`, JSON.stringify({ certificateId }), { qos: 1 });
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, serial, { token })).toMatchObject({ status: 'accepted', certificateId });
    for (const { client } of [stranger, guesser]) await client.endAsync(true);
  });

  it('may present its token as the CONNECT password', async () => {
    const { serial, token } = await gateway.enrol('by-password');
    expect(await askOnce(gateway.broker, serial, {}, { username: serial, password: token })).toMatchObject({
      status: 'accepted',
    });
  });

  it('is served by any broker, and a second verified connection that subscribed hears the reply too', async () => {
    const { serial, token } = await gateway.enrol('two-brokers');
    const other = await gateway.startOneBroker();
    const listener = await connectDevice(other, { username: serial, password: token });
    await listener.client.subscribeAsync(`cvm/reply/${serial}`, { qos: 1 });
    const asked = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    expect((await listener.next()).certificateId).toBe(asked.certificateId);
    await listener.client.endAsync(true);
  });

  it.each([
    ['a wrong token', 'InvalidToken', { token: 'wrong-wrong-wrong-wrong-wrong' }],
    ['no token', 'InvalidToken', {}],
  ])('is refused with %s, and nothing is left in AWS', async (name, errorCode, request) => {
    const { serial } = await gateway.enrol(`refused-${name.replaceAll(' ', '-')}`);
    const before = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
    expect(await askOnce(gateway.broker, serial, request)).toMatchObject({
      status: 'rejected',
      statusCode: 401,
      errorCode,
    });
    expect((await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }))).certificates).toHaveLength(
      before.certificates?.length ?? -1,
    );
    await expect(gateway.iot.send(new DescribeThingCommand({ thingName: serial }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
  });

  it('is refused with the same text for an unknown serial and a wrong token', async () => {
    const { serial } = await gateway.enrol('known');
    const request = { token: 'wrong-wrong-wrong-wrong-wrong' };
    expect(await askOnce(gateway.broker, 'unknown', request)).toEqual(await askOnce(gateway.broker, serial, request));
  });

  it('is refused when its token has expired', async () => {
    const { serial, token } = await gateway.enrol('expired', { tokenLifetimeMs: -1 });
    expect(await askOnce(gateway.broker, serial, { token })).toMatchObject({
      statusCode: 401,
      errorCode: 'TokenExpired',
    });
  });
});

describe.skipIf(lacks('redis-server'))('an outage is not a refusal', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('of AWS IoT: the request waits and is answered after it', async () => {
    const { serial, token } = await gateway.enrol('iot-away');
    gateway.aws.faults.set([{ operation: 'CreateThing', kind: 'fail-before', times: 4 }]);
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  });

  it('by throttling: the queue waits, and nothing is created twice', async () => {
    const { serial, token } = await gateway.enrol('throttled');
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'throttle', times: 2 }]);
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    expect(principals).toHaveLength(1);
  });

  it('of the policy attachment: the certificate that exists already is the one that is activated', async () => {
    const { serial, token } = await gateway.enrol('attach-fails');
    gateway.aws.faults.set([{ operation: 'AttachPolicy', kind: 'fail-before', times: 4 }]);
    const reply = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    gateway.aws.faults.set([]);
    expect(reply).toMatchObject({ status: 'accepted' });
    const { certificates } = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
    expect(certificates?.filter((certificate) => certificate.status === 'INACTIVE')).toEqual([]);
  });

  it('of the table: the request waits and is answered after it', async () => {
    const { serial, token } = await gateway.enrol('table-away');
    gateway.aws.faults.set([{ operation: 'DynamoDB', kind: 'fail-before', times: 4 }]);
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
  });
});

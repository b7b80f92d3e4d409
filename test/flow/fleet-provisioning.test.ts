import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import {
  CreatePolicyCommand,
  CreateThingGroupCommand,
  CreateThingTypeCommand,
  DescribeThingCommand,
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListThingGroupsForThingCommand,
  ListThingPrincipalsCommand,
} from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import {
  answersOf,
  connectFleetDevice,
  create,
  createFromCsr,
  fleetTemplate,
  provision,
  templateFolder,
} from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { sized } from '../support/size.ts';

const idOf = (pem = '') => createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');

describe.skipIf(lacks('redis-server'))('firmware that speaks AWS IoT Fleet Provisioning', () => {
  let gateway: Gateway;
  const templates = templateFolder({
    plain: fleetTemplate(),
    full: fleetTemplate(
      {
        AttributePayload: { model: 'pump', serial: { Ref: 'SerialNumber' } },
        ThingTypeName: 'pump',
        ThingGroups: ['plant'],
      },
      { DeviceConfiguration: { url: 'https://example.aws', id: { Ref: 'AWS::IoT::Certificate::Id' } } },
      { policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'pumps' } } },
    ),
    broken: fleetTemplate({ ThingGroups: ['no-such-group'] }),
  });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
    await gateway.iot.send(new CreateThingGroupCommand({ thingGroupName: 'plant' }));
    await gateway.iot.send(new CreateThingTypeCommand({ thingTypeName: 'pump' }));
    const policyDocument = JSON.stringify({
      Version: '2012-10-17',
      Statement: [{ Effect: 'Allow', Action: 'iot:Publish', Resource: '*' }],
    });
    await gateway.iot.send(new CreatePolicyCommand({ policyName: 'pumps', policyDocument }));
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  /** A device that proves its token by user name and password, as all of these do that have no pre-shared key. */
  const connect = async (serial: string, options: Parameters<typeof connectFleetDevice>[1] = {}) => {
    const { token } = await gateway.enrol(serial);
    return connectFleetDevice(gateway.broker, { username: serial, password: token, ...options });
  };

  /** What AWS knows of a device after it was provisioned. */
  async function expectProvisioned(serial: string, certificateId: string | undefined): Promise<void> {
    const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    expect(principals).toEqual([expect.stringContaining(String(certificateId))]);
    const row = await gateway.registry.find(serial);
    expect(row).toMatchObject({ state: 'registered', certificateId });
    expect(row?.deliveredAt, 'provision is the acknowledgement').toBeTypeOf('number');
  }

  it('as FreeRTOS and the embedded C SDK: CBOR, a CSR, subscriptions one by one, and other ones for the second step', async () => {
    const device = await connect('freertos-1', { clientId: 'freertos-1', keepalive: 60 });
    const { csrPem } = await makeDeviceKey('freertos-1');
    for (const filter of answersOf(createFromCsr('cbor'))) await device.subscribe(filter);
    const created = await device.ask(createFromCsr('cbor'), { certificateSigningRequest: csrPem });
    const { certificateId, certificatePem, certificateOwnershipToken = '' } = created.body;
    expect(created.topic).toBe(`${createFromCsr('cbor')}/accepted`);
    // a definite map of texts, in a buffer of 2,048 bytes: header of the packet, topic and packet id included
    expect(created.payload[0]).toBe(0xa0 + 3);
    expect(created.payload.length + created.topic.length + 7).toBeLessThan(2048);
    expect(certificateId).toBe(idOf(certificatePem));
    expect(certificateOwnershipToken.length).toBeLessThanOrEqual(128);
    for (const filter of answersOf(createFromCsr('cbor'))) await device.client.unsubscribeAsync(filter);

    for (const filter of answersOf(provision('plain', 'cbor'))) await device.subscribe(filter);
    const parameters = { SerialNumber: 'freertos-1' };
    const provisioned = await device.ask(provision('plain', 'cbor'), { certificateOwnershipToken, parameters });
    expect(provisioned).toMatchObject({
      topic: `${provision('plain', 'cbor')}/accepted`,
      body: { thingName: 'freertos-1' },
    });
    await device.leave();
    await expectProvisioned('freertos-1', certificateId);
  });

  it('as the SDKs of AWS in MQTT 5: JSON, a CSR, a filter with a wildcard', async () => {
    const { serial, token } = await gateway.enrol('sdk-mqtt5');
    const as = { username: `${serial}?SDK=NodeJSv2&Version=1.0`, password: token };
    const device = await connectFleetDevice(gateway.broker, as, 5);
    await device.subscribe([...answersOf(createFromCsr('json')), `${provision('plain', 'json')}/+`]);
    const { csrPem } = await makeDeviceKey(serial);
    const created = await device.ask(createFromCsr('json'), { certificateSigningRequest: csrPem });
    expect(created.topic).toBe(`${createFromCsr('json')}/accepted`);
    const { certificateId, certificatePem, certificateOwnershipToken } = created.body;
    expect(certificateId).toBe(idOf(certificatePem));
    const parameters = { SerialNumber: serial };
    const provisioned = await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters });
    expect(provisioned).toMatchObject({
      ...{ topic: `${provision('plain', 'json')}/accepted`, body: { thingName: serial } },
    });
    await device.leave();
    await expectProvisioned(serial, certificateId);
  });

  it('as the keys demo of the embedded C SDK: a PUBLISH without a payload, and AWS makes the key', async () => {
    const device = await connect('freertos-2');
    const { body } = await device.ask(create('cbor'), Buffer.alloc(0));
    expect(Object.keys(body).sort()).toEqual([
      'certificateId',
      'certificateOwnershipToken',
      'certificatePem',
      'privateKey',
    ]);
    const { certificateOwnershipToken, certificateId, certificatePem, privateKey } = body;
    const provisioned = await device.ask(provision('plain', 'cbor'), {
      certificateOwnershipToken,
      parameters: { SerialNumber: 'freertos-2' },
    });
    expect(provisioned.body).toEqual({ deviceConfiguration: {}, thingName: 'freertos-2' });
    await device.leave();
    const aws = await connectOnce({
      ...{ host: 'localhost', port: gateway.aws.mqttPort, ca: readFileSync(gateway.aws.rootCaFile) },
      ...{ cert: certificatePem ?? '', key: privateKey ?? '', clientId: 'freertos-2' },
    });
    await aws.endAsync();
    await expectProvisioned('freertos-2', certificateId);
  });

  it('as the AWS IoT Device Client: JSON, accepted and rejected subscribed, every field of a rejection there', async () => {
    const device = await connect('device-client');
    await device.subscribe(`${create('json')}/accepted`);
    await device.subscribe(`${create('json')}/rejected`);
    const { body } = await device.ask(create('json'), {});
    const { certificateOwnershipToken } = body;
    for (const filter of answersOf(provision('plain', 'json'))) await device.subscribe(filter);
    const rejected = await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters: {} });
    expect(rejected.topic).toBe(`${provision('plain', 'json')}/rejected`);
    expect(rejected.body).toEqual({
      statusCode: 400,
      errorCode: 'InvalidRequest',
      errorMessage: 'the template plain cannot be used: the parameter "SerialNumber" is missing',
    });
    const parameters = { SerialNumber: 'device-client' };
    expect((await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters })).body).toEqual({
      deviceConfiguration: {},
      thingName: 'device-client',
    });
    await device.leave();
    await expectProvisioned('device-client', body.certificateId);
  });

  it('as the plugin of Greengrass V2: attributes, type, group, policy and configuration of the template', async () => {
    const device = await connect('greengrass-2', { clean: true });
    for (const filter of answersOf(create('json'))) await device.subscribe(filter);
    const { certificateId, certificateOwnershipToken } = (await device.ask(create('json'), {})).body;
    for (const filter of answersOf(provision('full', 'json'))) await device.subscribe(filter);
    const parameters = { SerialNumber: 'greengrass-2' };
    const { body } = await device.ask(provision('full', 'json'), { certificateOwnershipToken, parameters });
    expect(body).toEqual({
      deviceConfiguration: { url: 'https://example.aws', id: certificateId },
      thingName: 'greengrass-2',
    });
    await device.leave();
    await expectProvisioned('greengrass-2', certificateId);
    const thingName = 'greengrass-2';
    expect(await gateway.iot.send(new DescribeThingCommand({ thingName }))).toMatchObject({
      thingTypeName: 'pump',
      attributes: { model: 'pump', serial: 'greengrass-2' },
    });
    const { thingGroups } = await gateway.iot.send(new ListThingGroupsForThingCommand({ thingName }));
    expect(thingGroups).toMatchObject([{ groupName: 'plant' }]);
    const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName }));
    const { policies = [] } = await gateway.iot.send(new ListAttachedPoliciesCommand({ target: principals[0] ?? '' }));
    expect(policies.map(({ policyName }) => policyName).sort()).toEqual(['cvm-device', 'pumps']);
  });

  it('as Greengrass Lite: it never subscribes', async () => {
    const device = await connect('greengrass-lite', { clientId: crypto.randomUUID(), keepalive: 30 });
    const { csrPem } = await makeDeviceKey('AWS IoT Certificate');
    const { topic, body } = await device.ask(createFromCsr('json'), { certificateSigningRequest: csrPem });
    expect(topic).toBe(`${createFromCsr('json')}/accepted`);
    expect(Object.keys(body)).toEqual(['certificateId', 'certificatePem', 'certificateOwnershipToken']);
    const { certificateOwnershipToken } = body;
    const parameters = { SerialNumber: 'greengrass-lite' };
    const provisioned = await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters });
    expect(provisioned.body).toEqual({ deviceConfiguration: {}, thingName: 'greengrass-lite' });
    await device.leave();
    await expectProvisioned('greengrass-lite', body.certificateId);
  });

  it('as the Python sample of AWS: all topics subscribed at first, a session that is to last, a short keep-alive', async () => {
    const device = await connect('python-sample', { clean: false, keepalive: 6, clientId: 'python-sample' });
    for (const filter of [...answersOf(create('json')), ...answersOf(provision('plain', 'json'))])
      await device.subscribe(filter);
    const { certificateOwnershipToken } = (await device.ask(create('json'), Buffer.from('{}'))).body;
    const parameters = { SerialNumber: 'python-sample' };
    const { body } = await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters });
    expect(body).toHaveProperty('deviceConfiguration');
    await device.leave();
    // nothing of it is kept for the session
    const again = await connectFleetDevice(gateway.broker, { clean: false, clientId: 'python-sample' });
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(again.heard).toEqual([]);
    await again.leave();
  });

  it('as rustot: both filters in one SUBSCRIBE, an empty payload, no parameters that it does not have', async () => {
    const device = await connect('rustot');
    expect((await device.subscribe(answersOf(create('cbor')))).map(({ qos }) => qos)).toEqual([1, 1]);
    const { certificateOwnershipToken } = (await device.ask(create('cbor'))).body;
    await device.subscribe(answersOf(provision('plain', 'cbor')));
    const { body } = await device.ask(provision('plain', 'cbor'), { certificateOwnershipToken });
    expect(body).toMatchObject({ statusCode: 400, errorCode: 'InvalidRequest', errorMessage: expect.any(String) });
    await device.leave();
  });

  it('as the old JavaScript clients: the name of the template in the payload as well, and other fields', async () => {
    const device = await connect('old-js');
    const { certificateOwnershipToken } = (await device.ask(create('json'), { clientToken: 'x' })).body;
    const { body } = await device.ask(provision('plain', 'json'), {
      templateName: 'plain',
      certificateOwnershipToken,
      parameters: { SerialNumber: 'old-js', Unknown: 'x' },
    });
    expect(body).toEqual({ deviceConfiguration: {}, thingName: 'old-js' });
    await device.leave();
  });

  it('that gives SDK and version behind its user name, as the SDKs of AWS do', async () => {
    const { token } = await gateway.enrol('sdk-v2');
    const username = 'sdk-v2?SDK=PythonV2&Version=1.24.0';
    const device = await connectFleetDevice(gateway.broker, { username, password: token });
    expect((await device.ask(create('json'), {})).topic).toBe(`${create('json')}/accepted`);
    await device.leave();
  });

  it('with a pre-shared key in the place of user name and password', async () => {
    const { serial, token } = await gateway.enrolOnRoster('by-key');
    const tls = { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256', checkServerIdentity: () => undefined };
    const pskCallback = () => ({ psk: derivePsk(serial, token), identity: serial });
    const device = await connectFleetDevice({ ...gateway.broker, caPem: '' }, { pskCallback, ...(tls as object) });
    const { csrPem } = await makeDeviceKey(serial);
    const { certificateOwnershipToken } = (
      await device.ask(createFromCsr('cbor'), { certificateSigningRequest: csrPem })
    ).body;
    const parameters = { SerialNumber: serial };
    const { body } = await device.ask(provision('plain', 'cbor'), { certificateOwnershipToken, parameters });
    expect(body).toMatchObject({ thingName: serial });
    await device.leave();
  });

  it('that proves nothing is told what to do, and nothing is vended', async () => {
    for (const options of [{}, { username: '?SDK=CPPv2&Version=1.0' }, { username: 'SN-claims' }]) {
      const device = await connectFleetDevice(gateway.broker, options);
      const { topic, body } = await device.ask(create('json'), {});
      expect(topic).toBe(`${create('json')}/rejected`);
      expect(body).toEqual({
        statusCode: 401,
        errorCode: 'InvalidToken',
        errorMessage: expect.stringContaining('put it into CONNECT as the user name with the token as password'),
      });
      await device.leave();
    }
  });

  it('gets one certificate, in whichever dialect it asks, and the same one again until it is provisioned', async () => {
    const { serial, token } = await gateway.enrol('both-dialects');
    const inOurs = await askOnce(gateway.broker, serial, { token });
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    const { body } = await device.ask(create('json'), {});
    expect([body.certificateId, body.privateKey]).toEqual([inOurs.certificateId, inOurs.privateKey]);
    const { csrPem } = await makeDeviceKey(serial);
    const other = await device.ask(createFromCsr('json'), { certificateSigningRequest: csrPem });
    expect(other.body).toMatchObject({ statusCode: 409, errorCode: 'KeyMismatch' });
    const asked = { certificateOwnershipToken: body.certificateOwnershipToken, parameters: { SerialNumber: serial } };
    expect((await device.ask(provision('plain', 'json'), asked)).body).toMatchObject({ thingName: serial });
    // the answer may have been lost
    expect((await device.ask(provision('plain', 'json'), asked)).body).toMatchObject({ thingName: serial });
    expect((await device.ask(create('json'), {})).body).toMatchObject({
      statusCode: 409,
      errorCode: 'AlreadyProvisioned',
    });
    expect(await askOnce(gateway.broker, serial, { token })).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    await device.leave();
    await expectProvisioned(serial, inOurs.certificateId);
  });

  it('gets one certificate where both dialects ask at once, in a storm of devices that speak either or both', async () => {
    const before = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
    const names = Array.from({ length: sized(120, 24) }, (_, index) => `storm-${index}`);
    const inOurs = async (serial: string, token: string) => askOnce(gateway.broker, serial, { token, pending: false });
    const inFleet = async (serial: string, password: string) => {
      const device = await connectFleetDevice(gateway.broker, { username: serial, password });
      const { body } = await device.ask(create('json'), {});
      return { ...body, device };
    };
    const devices = await Promise.all(names.map((serial) => gateway.enrol(serial)));
    const got = await Promise.all(
      devices.map(async ({ serial, token }, index) => {
        const ours = index % 3 === 0 ? undefined : inOurs(serial, token);
        const fleet = index % 3 === 1 ? undefined : inFleet(serial, token);
        const [first, second] = await Promise.all([ours, fleet]);
        return { serial, ours: first?.certificateId, fleet: second };
      }),
    );
    for (const { serial, ours, fleet } of got) {
      const row = await gateway.registry.find(serial);
      for (const id of [ours, fleet?.certificateId]) expect([row?.certificateId, undefined], serial).toContain(id);
      if (fleet === undefined) continue;
      const { certificateOwnershipToken, device } = fleet;
      const parameters = { SerialNumber: serial };
      const { body } = await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters });
      expect(body).toMatchObject({ thingName: serial });
      await device.leave();
      await expectProvisioned(serial, row?.certificateId);
    }
    const after = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
    expect((after.certificates ?? []).length - (before.certificates ?? []).length).toBe(names.length);
  });

  it('is told what is wrong with its payload, its template or its CSR', async () => {
    const { serial, token } = await gateway.enrolOnRoster('told-why');
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    const told = async (topic: string, fields: object | Buffer) => (await device.ask(topic, fields)).body;
    expect(await told(createFromCsr('json'), Buffer.from('no JSON'))).toMatchObject({
      statusCode: 400,
      errorCode: 'InvalidRequest',
    });
    expect(await told(createFromCsr('cbor'), Buffer.from('{}'))).toMatchObject({
      errorMessage: 'this topic takes CBOR, and the payload is JSON',
    });
    expect(await told(createFromCsr('json'), { certificateSigningRequest: 'x' })).toMatchObject({
      statusCode: 422,
      errorCode: 'InvalidCsr',
    });
    expect(await told(create('json'), { certificateSigningRequest: 'x' })).toMatchObject({
      errorMessage: expect.stringContaining('create-from-csr'),
    });
    expect(await told(provision('plain', 'json'), {})).toEqual({
      statusCode: 400,
      errorCode: 'InvalidCertificateOwnershipToken',
      errorMessage: 'Certificate ownership token cannot be empty.',
    });
    const { certificateOwnershipToken } = await told(create('json'), {});
    const parameters = { SerialNumber: 'told-why' };
    expect(await told(provision('none', 'json'), { certificateOwnershipToken, parameters })).toMatchObject({
      statusCode: 400,
      errorMessage: expect.stringContaining('no provisioning template of this name'),
    });
    expect(
      await told(provision('plain', 'json'), { certificateOwnershipToken, parameters: { SerialNumber: 1 } }),
    ).toMatchObject({
      statusCode: 400,
      errorCode: 'InvalidRequest',
    });
    expect(await told(provision('broken', 'json'), { certificateOwnershipToken, parameters })).toMatchObject({
      statusCode: 503,
      errorCode: 'UpstreamUnavailable',
    });
    expect(gateway.logText()).toContain('no-such-group');
    expect((await gateway.registry.find('told-why'))?.deliveredAt, 'a refusal is no acknowledgement').toBeUndefined();
    await device.leave();
  });

  it('may subscribe to answers of its own operations, by + and # as well, and to nothing else', async () => {
    const device = await connectDevice(gateway.broker);
    const granted = async (filter: string) =>
      (await device.client.subscribeAsync(filter, { qos: 1 }).catch(() => [{ qos: 128 }]))[0]?.qos;
    for (const filter of [
      `${create('json')}/+`,
      `${provision('plain', 'cbor')}/#`,
      ...answersOf(createFromCsr('cbor')),
    ])
      expect(await granted(filter), filter).toBe(1);
    for (const filter of [
      '$aws/#',
      '$aws/certificates/+/json/accepted',
      create('json'),
      '$aws/provisioning-templates/+/provision/json/accepted',
    ])
      expect(await granted(filter), filter).toBe(128);
    await device.client.endAsync(true);
  });

  it('leaves neither of its tokens in the log, though it sends its registration token as a parameter', async () => {
    const { serial, token } = await gateway.enrol('token-as-parameter');
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    const { certificateOwnershipToken } = (await device.ask(create('json'), {})).body;
    const parameters = { SerialNumber: serial, Token: token };
    expect(
      (await device.ask(provision('plain', 'json'), { certificateOwnershipToken, parameters })).body,
    ).toMatchObject({ thingName: serial });
    expect(gateway.logText()).not.toContain(token);
    expect(gateway.logText()).not.toContain(certificateOwnershipToken);
    await device.leave();
  });
});

describe.skipIf(lacks('redis-server'))('firmware that speaks Fleet Provisioning, while no worker runs', () => {
  let gateway: Gateway;
  const templates = templateFolder({ plain: fleetTemplate() });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  const workers: ReturnType<Gateway['startOneWorker']>[] = [];
  const closeWorkers = () => Promise.all(workers.splice(0).map((worker) => worker.close()));

  it('is told 429 as by AWS, keeps its place, and gets its one certificate when it asks again', async () => {
    const { serial, token } = await gateway.enrolOnRoster('comes-back');
    await gateway.worker.close();
    const { csrPem } = await makeDeviceKey(serial);
    const asked = { certificateSigningRequest: csrPem };
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    const { topic, body } = await device.ask(createFromCsr('json'), asked);
    expect(topic).toBe(`${createFromCsr('json')}/rejected`);
    expect(body).toMatchObject({
      statusCode: 429,
      errorCode: 'Throttled',
      errorMessage: expect.stringMatching(/ask again in \d+ s$/),
    });
    workers.push(gateway.startOneWorker());
    await expect.poll(async () => (await gateway.registry.find(serial))?.state, { timeout: 20_000 }).toBe('registered');
    // it was told to ask again, and has unsubscribed
    expect(device.heard).toEqual([]);
    const again = await device.ask(createFromCsr('json'), asked);
    expect(again.body.certificateId).toBe((await gateway.registry.find(serial))?.certificateId);
    await device.leave();
  });

  it('is registered at another broker than the one that gave it its certificate, as soon as a worker is there', async () => {
    const { serial, token } = await gateway.enrolOnRoster('two-brokers');
    const worker = gateway.startOneWorker();
    const first = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    const { certificateOwnershipToken } = (await first.ask(create('cbor'))).body;
    await first.leave();
    const other = await gateway.startOneBroker();
    await expect.poll(() => other.roster.keysOf(serial), { timeout: 10_000 }).toBeDefined();
    const second = await connectFleetDevice(other, { username: serial, password: token });
    await Promise.all([worker.close(), closeWorkers()]);
    // its PUBACK means that it is stored
    const fields = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
    await second.publish(provision('plain', 'cbor'), fields);
    expect(second.heard).toEqual([]);
    gateway.startOneWorker();
    expect((await second.next()).body).toEqual({ deviceConfiguration: {}, thingName: serial });
    expect((await gateway.registry.find(serial))?.deliveredAt).toBeTypeOf('number');
    await second.leave();
  });
});

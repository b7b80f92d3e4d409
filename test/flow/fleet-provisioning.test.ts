import { createHash, X509Certificate } from 'node:crypto';
import {
  CreatePolicyCommand,
  CreateThingGroupCommand,
  CreateThingTypeCommand,
  DescribeThingCommand,
  ListAttachedPoliciesCommand,
  ListThingGroupsForThingCommand,
  ListThingPrincipalsCommand,
} from '@aws-sdk/client-iot';
import type { IPublishPacket } from 'mqtt';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { csrsOfOneKey } from '../support/csr.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import {
  answersOf,
  connectFleetDevice,
  create,
  createFromCsr,
  fleetTemplate,
  provision,
  templateFolder,
  untilDecided,
} from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const idOf = (pem = '') => createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');

// the packets of each client: aws-clients.test.ts
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

  it('is answered in MQTT 5, by filters with and without a wildcard', async () => {
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

  it.each(['accepted', 'rejected'])(
    'may name its own %s answers as Response Topic in MQTT 5, and no others',
    async (outcome) => {
      const { serial, token } = await gateway.enrol(`response-topic-${outcome}`);
      const device = await connectFleetDevice(gateway.broker, { username: serial, password: token }, 5);
      const topic = createFromCsr('cbor');
      const properties = { responseTopic: `${createFromCsr('json')}/${outcome}`, correlationData: Buffer.from('c-1') };
      const { csrPem } = await makeDeviceKey(serial);
      const payload = JSON.stringify({ certificateSigningRequest: csrPem });
      await expect(device.client.publishAsync(topic, payload, { qos: 1, properties })).rejects.toMatchObject({
        code: 0x87,
      });
      const answer = await untilDecided(async () => {
        const heard = new Promise<IPublishPacket>((resolve) => {
          device.client.once('message', (_topic, _payload, packet) => resolve(packet));
        });
        await device.client.publishAsync(createFromCsr('json'), payload, { qos: 1, properties });
        const packet = await heard;
        return { ...packet, body: JSON.parse(String(packet.payload)) };
      });
      expect([answer.topic, String(answer.properties?.correlationData)]).toEqual([
        `${createFromCsr('json')}/accepted`,
        'c-1',
      ]);
      await device.leave();
    },
  );

  it('gets attributes, type, group, policy and configuration of the template', async () => {
    const device = await connect('full-template', { clean: true });
    for (const filter of answersOf(create('json'))) await device.subscribe(filter);
    const { certificateId, certificateOwnershipToken } = (await device.ask(create('json'), {})).body;
    for (const filter of answersOf(provision('full', 'json'))) await device.subscribe(filter);
    const parameters = { SerialNumber: 'full-template' };
    const { body } = await device.ask(provision('full', 'json'), { certificateOwnershipToken, parameters });
    expect(body).toEqual({
      deviceConfiguration: { url: 'https://example.aws', id: certificateId },
      thingName: 'full-template',
    });
    await device.leave();
    await expectProvisioned('full-template', certificateId);
    const thingName = 'full-template';
    expect(await gateway.iot.send(new DescribeThingCommand({ thingName }))).toMatchObject({
      thingTypeName: 'pump',
      attributes: { model: 'pump', serial: 'full-template' },
    });
    const { thingGroups } = await gateway.iot.send(new ListThingGroupsForThingCommand({ thingName }));
    expect(thingGroups).toMatchObject([{ groupName: 'plant' }]);
    const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName }));
    const { policies = [] } = await gateway.iot.send(new ListAttachedPoliciesCommand({ target: principals[0] ?? '' }));
    expect(policies.map(({ policyName }) => policyName).sort()).toEqual(['cvm-device', 'pumps']);
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
    await expect.poll(() => gateway.logText()).toContain('no-such-group');
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
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    // it keeps its key only, and makes its CSR anew each time
    const [first, ...others] = await csrsOfOneKey(serial, 3);
    const asked = (csr = '') => ({ certificateSigningRequest: csr });
    const { topic, body } = await device.askOnce(createFromCsr('json'), asked(first));
    expect(topic).toBe(`${createFromCsr('json')}/rejected`);
    expect(body).toMatchObject({
      statusCode: 429,
      errorCode: 'Throttled',
      errorMessage: expect.stringMatching(/ask again in \d+ s$/),
    });
    // it is the same one that waits, not another key
    expect((await device.askOnce(createFromCsr('json'), asked(others[0]))).body.errorMessage).toMatch(
      /number 1 in the line/,
    );
    workers.push(gateway.startOneWorker());
    await expect.poll(async () => (await gateway.registry.find(serial))?.state).toBe('registered');
    // it was told to ask again, and has unsubscribed
    expect(device.heard).toEqual([]);
    const again = await device.ask(createFromCsr('json'), asked(others[1]));
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
    await expect.poll(() => other.roster.keysOf(serial)).toBeDefined();
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

import {
  CreatePolicyCommand,
  CreateThingGroupCommand,
  DescribeThingCommand,
  ListAttachedPoliciesCommand,
  ListCertificatesCommand,
  ListThingGroupsForThingCommand,
  ListThingPrincipalsCommand,
} from '@aws-sdk/client-iot';
import { decode, encode } from 'cborg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compactKeys } from '../../protocol/cvm/compact.ts';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { readPayload } from '../../protocol/encoding.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { seeded } from '../chaos/random.ts';
import { csrsOfOneKey } from '../support/csr.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { connectFleetDevice, create, fleetTemplate, provision, templateFolder } from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { assemble, noTrouble } from '../support/small-device.ts';
import { connectSmall } from '../support/small-link.ts';

const later = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(lacks('redis-server'))('a request that names a provisioning template', () => {
  let gateway: Gateway;
  const templates = templateFolder({
    pump: {
      ...fleetTemplate(
        { AttributePayload: { place: { Ref: 'Place' } }, ThingGroups: ['plant'] },
        {},
        { policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'pumps' } } },
      ),
      Parameters: { SerialNumber: { Type: 'String' }, Place: { Type: 'String' } },
      DeviceConfiguration: {
        url: { 'Fn::Join': ['', ['https://', { Ref: 'Place' }]] },
        id: { Ref: 'AWS::IoT::Certificate::Id' },
      },
    },
    plain: fleetTemplate(),
    broken: fleetTemplate({ ThingGroups: ['no-such-group'] }),
  });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
    await gateway.iot.send(new CreateThingGroupCommand({ thingGroupName: 'plant' }));
    const Statement = [{ Effect: 'Allow', Action: 'iot:Publish', Resource: '*' }];
    const policyDocument = JSON.stringify({ Version: '2012-10-17', Statement });
    await gateway.iot.send(new CreatePolicyCommand({ policyName: 'pumps', policyDocument }));
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  const pump = (serial: string, Place = 'north') => ({
    template: 'pump',
    parameters: { SerialNumber: serial, Place },
  });
  const certificates = async () =>
    (await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }))).certificates?.length ?? 0;

  async function expectCarriedOut(thingName: string, certificateId: unknown, place = 'north'): Promise<void> {
    expect(await gateway.iot.send(new DescribeThingCommand({ thingName }))).toMatchObject({ attributes: { place } });
    const { thingGroups } = await gateway.iot.send(new ListThingGroupsForThingCommand({ thingName }));
    expect(thingGroups).toMatchObject([{ groupName: 'plant' }]);
    const { principals = [] } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName }));
    expect(principals).toEqual([expect.stringContaining(String(certificateId))]);
    const { policies = [] } = await gateway.iot.send(new ListAttachedPoliciesCommand({ target: principals[0] ?? '' }));
    expect(policies.map(({ policyName }) => policyName).sort()).toEqual(['cvm-device', 'pumps']);
  }

  it('gets its configuration with the certificate, and again in the replay window, until it acknowledges', async () => {
    const { serial, token } = await gateway.enrol('template-json');
    const before = await certificates();
    const first = await askOnce(gateway.broker, serial, { token, ...pump(serial) });
    const { certificateId } = first;
    const configuration = { url: 'https://north', id: certificateId };
    expect(first).toMatchObject({ status: 'accepted', deviceConfiguration: configuration });
    await expectCarriedOut(serial, certificateId);
    for (const asked of [pump(serial), pump(serial, 'south'), {}]) {
      await gateway.queueIsEmpty();
      expect(await askOnce(gateway.broker, serial, { token, ...asked })).toMatchObject({
        certificateId,
        deviceConfiguration: configuration,
      });
    }
    await expectCarriedOut(serial, certificateId);
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, serial, { token, ...pump(serial), template: 'plain' })).toMatchObject({
      statusCode: 400,
      errorCode: 'InvalidRequest',
      errorMessage: expect.stringContaining('another template'),
    });
    expect((await certificates()) - before).toBe(1);
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    await device.client.publishAsync(requestTopic(serial), JSON.stringify(pump(serial)), { qos: 1 });
    await device.next();
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeTypeOf('number');
    await device.client.endAsync(true);
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, serial, { token, ...pump(serial) })).toMatchObject({
      errorCode: 'AlreadyProvisioned',
    });
  });

  it('gets it in CBOR, with numbers as keys, and in parts', async () => {
    const { serial, token } = await gateway.enrolOnRoster('template-cbor');
    const [csr] = await csrsOfOneKey(serial, 1);
    const asked = { token, csr, ...pump(serial) };
    const inCbor = (await askOnce(gateway.broker, serial, Buffer.from(encode(asked)))) as unknown as {
      certificateId: string;
      deviceConfiguration: Map<string, string>;
    };
    const { certificateId } = inCbor;
    const configuration = { url: 'https://north', id: certificateId };
    expect(Object.fromEntries(inCbor.deviceConfiguration)).toEqual(configuration);

    const client = await connectOnce({ host: 'localhost', port: gateway.broker.port, ca: gateway.broker.caPem });
    const heard: Buffer[] = [];
    client.on('message', (_topic, payload) => void heard.push(payload));
    await client.publishAsync(
      requestTopic(serial),
      Buffer.from(encode({ ...asked, format: 'compact', pending: false })),
      { qos: 1 },
    );
    await expect.poll(() => heard.length).toBe(1);
    await client.endAsync(true);
    const map = decode(heard[0] ?? Buffer.alloc(0), { useMaps: true }) as Map<number, unknown>;
    const compact = map.get(compactKeys.deviceConfiguration) as Map<string, string>;
    expect(Object.fromEntries(compact)).toEqual(configuration);

    const small = { serial, token, encoding: 'json' as const, request: { csr, ...pump(serial), maxPacket: 128 } };
    const got = await assemble({
      connect: (each) => connectSmall(gateway.broker, small, each),
      ...{ random: seeded(1).next, trouble: noTrouble, idleMs: 2000 },
    });
    expect(readPayload(got.whole)).toMatchObject({ value: { certificateId, deviceConfiguration: configuration } });
    await expectCarriedOut(serial, certificateId);
  });

  it('gets it in MQTT 5, where its request says', async () => {
    const { serial, token } = await gateway.enrol('template-five');
    const { port, caPem: ca } = gateway.broker;
    const client = await connectOnce({ host: 'localhost', port, ca, username: serial, password: token }, 5);
    const responseTopic = `${replyTopic(serial)}/mine`;
    const heard: { topic: string; body: object }[] = [];
    client.on('message', (topic, payload) => void heard.push({ topic, body: JSON.parse(payload.toString()) }));
    await client.subscribeAsync(responseTopic, { qos: 1 });
    const asked = JSON.stringify({ ...pump(serial), key: 'ec', pending: false });
    await client.publishAsync(requestTopic(serial), asked, { qos: 1, properties: { responseTopic } });
    await expect
      .poll(() => heard)
      .toMatchObject([
        { topic: responseTopic, body: { status: 'accepted', deviceConfiguration: { url: 'https://north' } } },
      ]);
    await client.endAsync(true);
  });

  it('is refused, with nothing spent, where the template cannot be carried out, and is served when it is mended', async () => {
    const { serial, token } = await gateway.enrol('template-wrong');
    const before = await certificates();
    const told = async (asked: object) => {
      await gateway.queueIsEmpty();
      return askOnce(gateway.broker, serial, { token, ...asked });
    };
    const wrong: [asked: object, code: string, words: string][] = [
      [{ template: 'none' }, 'InvalidRequest', 'no provisioning template of this name'],
      [{ template: 'pump', parameters: { SerialNumber: serial } }, 'InvalidRequest', 'Place'],
      [{ template: 'pump', parameters: { SerialNumber: 1 } }, 'InvalidRequest', 'object of texts'],
      [pump('somebody-else'), 'Forbidden', 'not the serial'],
    ];
    for (const [asked, errorCode, words] of wrong)
      expect(await told(asked)).toMatchObject({ errorCode, errorMessage: expect.stringContaining(words) });
    expect([await certificates(), (await gateway.registry.find(serial))?.state]).toEqual([before, 'enrolled']);
    const refused = await told({ template: 'broken', parameters: { SerialNumber: serial } });
    expect(refused).toMatchObject({ statusCode: 503, errorCode: 'UpstreamUnavailable' });
    await expect.poll(gateway.logText).toContain('no-such-group');
    const { certificates: all = [] } = await gateway.iot.send(new ListCertificatesCommand({ pageSize: 250 }));
    const row = await gateway.registry.find(serial);
    expect(all.find((each) => each.certificateId === row?.certificateId)?.status).toBe('INACTIVE');
    const { certificateId } = await told(pump(serial));
    await expectCarriedOut(serial, certificateId);
    expect((await certificates()) - before).toBe(1);
  });

  it('shares its certificate with Fleet Provisioning, whose templates come on top', async () => {
    const { serial, token } = await gateway.enrol('template-both');
    const { certificateId } = await askOnce(gateway.broker, serial, { token, ...pump(serial) });
    const device = await connectFleetDevice(gateway.broker, { username: serial, password: token });
    await gateway.queueIsEmpty();
    const created = (await device.ask(create('json'), {})).body;
    expect(Object.keys(created).sort()).toEqual([
      'certificateId',
      'certificateOwnershipToken',
      'certificatePem',
      'privateKey',
    ]);
    expect(created.certificateId).toBe(certificateId);
    const { certificateOwnershipToken } = created;
    const registering = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
    expect((await device.ask(provision('plain', 'json'), registering)).body).toEqual({
      deviceConfiguration: {},
      thingName: serial,
    });
    await device.leave();
    await expectCarriedOut(serial, certificateId);
  });

  it('is Throttled while one with another template waits, and leaves its token nowhere', async () => {
    const { serial, token } = await gateway.enrolOnRoster('template-waits');
    await gateway.worker.close();
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    const ask = (id: string, fields: object) =>
      device.client.publishAsync(requestTopic(serial), JSON.stringify({ id, key: 'ec', pending: false, ...fields }), {
        qos: 1,
      });
    const { template, parameters } = pump(serial);
    const withToken = { template, parameters: { ...parameters, RegistrationToken: token, Copy: token } };
    await ask('1', withToken);
    await ask('2', { template: 'plain', parameters });
    expect(await device.next()).toMatchObject({ id: '2', errorCode: 'Throttled' });
    // in another order, it is the same
    await ask('3', { parameters: { Place: 'north', SerialNumber: serial }, template });
    await later(100);
    expect(device.heard).toEqual([]);
    gateway.startOneWorker();
    const replies = [await device.next(), await device.next()];
    expect(replies.map(({ id, status }) => `${id} ${status}`).sort()).toEqual(['1 accepted', '3 accepted']);
    expect(gateway.logText()).not.toContain(token);
    await device.client.endAsync(true);
  });
});

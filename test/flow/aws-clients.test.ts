import { createHash, randomUUID, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { encode } from 'cborg';
import type { Packet } from 'mqtt-packet';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { connectDevice } from '../support/device.ts';
import {
  answersOf,
  create,
  createFromCsr,
  type FleetReply,
  fleetTemplate,
  provision,
  templateFolder,
} from '../support/fleet-device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectPackets, type PacketReply, subscribePacket } from '../support/packets.ts';

/*
 * The packets of the clients of AWS IoT Fleet Provisioning that firmware is built on, one by one over TLS, as their sources send them. In
 * the place of the claim certificate each has serial and registration token in CONNECT; nothing else differs. What they get is judged as
 * they judge it: by the fields that they read, the types that they insist on, and the buffers that they have.
 */

/** Acknowledgements, byte by byte [MQTT 3.1.1, 3.2, 3.9, 3.11]. */
const connack = '20020000';
const suback = (id: number, filters = 1) => `90${hex(2 + filters, 1)}${hex(id, 2)}${'01'.repeat(filters)}`;
const unsuback = (id: number) => `b002${hex(id, 2)}`;
const hex = (value: number, bytes: number) => value.toString(16).padStart(2 * bytes, '0');

/** Buffers of the clients, in bytes, for a whole packet. */
const buffers = { embeddedCsr: 2048, embeddedKeys: 4096, greengrassLite: 5000 };

const keysReply = ['certificateId', 'certificateOwnershipToken', 'certificatePem', 'privateKey'];
const csrReply = ['certificateId', 'certificateOwnershipToken', 'certificatePem'];
const fieldsOf = (body: FleetReply) => Object.keys(body).sort();
const idOf = (pem = '') => createHash('sha256').update(new X509Certificate(pem).raw).digest('hex');

/** Head of a CBOR text of this length, and the text [RFC 8949, 3.1]: of definite length, the only form that TinyCBOR copies in one step. */
function cborText(text: string): Buffer {
  const { length } = Buffer.from(text);
  const head = length < 24 ? [0x60 + length] : length < 256 ? [0x78, length] : [0x79, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(head), Buffer.from(text)]);
}
/** A map of definite length. The gateway writes shorter keys first. */
function cborMap(fields: Readonly<Record<string, string | Buffer>>): Buffer {
  const entries = Object.entries(fields).sort(([one], [other]) => one.length - other.length);
  const bytes = entries.flatMap(([key, value]) => [cborText(key), Buffer.isBuffer(value) ? value : cborText(value)]);
  return Buffer.concat([Buffer.from([0xa0 + entries.length]), ...bytes]);
}

describe.skipIf(lacks('redis-server'))('a client of AWS IoT Fleet Provisioning, packet by packet', () => {
  let gateway: Gateway;
  const templates = templateFolder({
    plain: fleetTemplate(),
    configured: fleetTemplate({}, { DeviceConfiguration: { url: 'https://example.aws' } }),
  });
  beforeAll(async () => {
    gateway = await startGateway({ env: { CVM_TEMPLATES_DIR: templates.folder } });
  });
  afterAll(async () => {
    await gateway?.close();
    templates.remove();
  });

  type Options = Parameters<Awaited<ReturnType<typeof connectPackets>>['connect']>[0];
  /** @param metrics what the client says of itself, behind the serial in the user name */
  async function arrive(serial: string, token: string, options: Partial<Options>, metrics = '') {
    const client = await connectPackets(gateway.broker);
    const shown = { username: `${serial}${metrics}`, password: Buffer.from(token) };
    expect(await client.connect({ clientId: serial, clean: true, keepalive: 60, ...shown, ...options })).toBe(connack);
    return client;
  }

  /** It is registered with this certificate, and AWS IoT Core takes it. */
  async function expectRegistered(serial: string, { certificateId, certificatePem }: FleetReply, key: string) {
    expect(certificateId).toMatch(/^[0-9a-f]{64}$/);
    expect(certificateId).toBe(idOf(certificatePem));
    const row = await gateway.registry.find(serial);
    expect(row).toMatchObject({ state: 'registered', certificateId });
    expect(row?.deliveredAt, 'provision is the acknowledgement').toBeTypeOf('number');
    const aws = await connectOnce({
      ...{ host: 'localhost', port: gateway.aws.mqttPort, ca: readFileSync(gateway.aws.rootCaFile) },
      ...{ cert: certificatePem ?? '', key, clientId: serial },
    });
    await aws.endAsync();
  }
  const textOf = ({ payload }: PacketReply) => payload.toString();

  describe('the embedded C SDK, FreeRTOS and esp-aws-iot', () => {
    const metrics = '?SDK=FreeRTOS&Version=V10.4.3&Platform=WinSim&MQTTLib=core-mqtt@v2.1.1';
    const [csrTopic, keysTopic, templateTopic] = [createFromCsr('cbor'), create('cbor'), provision('plain', 'cbor')];

    it('with a CSR: one topic in each SUBSCRIBE, CBOR of definite lengths, and UNSUBSCRIBE before the second step', async () => {
      const { serial, token } = await gateway.enrol('embedded-csr');
      const { csrPem, privateKeyPem } = await makeDeviceKey(serial);
      const client = await arrive(serial, token, { clean: false }, metrics);
      for (const [index, filter] of answersOf(csrTopic).entries())
        expect(await client.subscribe(1 + index, filter)).toBe(suback(1 + index));
      const csrPayload = cborMap({ certificateSigningRequest: csrPem });
      const created = await client.ask({ topic: csrTopic, payload: csrPayload, id: 3 });
      const { certificateId = '', certificatePem = '', certificateOwnershipToken = '' } = created.body;
      expect(created.topic).toBe(`${csrTopic}/accepted`);
      const all = { certificateId, certificatePem, certificateOwnershipToken };
      expect(created.payload).toEqual(cborMap(all));
      expect(created.packetBytes).toBeLessThanOrEqual(buffers.embeddedCsr);
      // its buffers, in characters
      expect([certificateId.length, certificateOwnershipToken.length <= 512]).toEqual([64, true]);
      for (const [index, filter] of answersOf(csrTopic).entries())
        expect(await client.unsubscribe(4 + index, filter)).toBe(unsuback(4 + index));

      for (const [index, filter] of answersOf(templateTopic).entries())
        expect(await client.subscribe(6 + index, filter)).toBe(suback(6 + index));
      const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
      const registered = await client.ask({ topic: templateTopic, payload: Buffer.from(encode(asked)), id: 8 });
      expect(registered.topic).toBe(`${templateTopic}/accepted`);
      expect(registered.payload).toEqual(cborMap({ deviceConfiguration: Buffer.from([0xa0]), thingName: serial }));
      for (const [index, filter] of answersOf(templateTopic).entries())
        expect(await client.unsubscribe(9 + index, filter)).toBe(unsuback(9 + index));
      await client.leave();
      expect(client.unread).toEqual([]);
      await expectRegistered(serial, created.body, privateKeyPem);
    });

    it('with keys of AWS: the payload of the PUBLISH has no byte', async () => {
      const { serial, token } = await gateway.enrol('embedded-keys');
      const client = await arrive(serial, token, { clean: false }, metrics);
      for (const [index, filter] of answersOf(keysTopic).entries())
        expect(await client.subscribe(1 + index, filter)).toBe(suback(1 + index));
      const { body, packetBytes } = await client.ask({ topic: keysTopic, id: 3 });
      expect(fieldsOf(body)).toEqual(keysReply);
      expect(packetBytes).toBeLessThanOrEqual(buffers.embeddedKeys);
      const { certificateOwnershipToken, privateKey = '' } = body;
      const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
      const registered = await client.ask({ topic: templateTopic, payload: Buffer.from(encode(asked)), id: 4 });
      expect(registered.body).toEqual({ deviceConfiguration: {}, thingName: serial });
      await client.leave();
      await expectRegistered(serial, body, privateKey);
    });

    it('that hears nothing in its second, leaves and begins anew with the same CSR: it gets the certificate of its first try', async () => {
      const { serial, token } = await gateway.enrol('embedded-second');
      const { csrPem, privateKeyPem } = await makeDeviceKey(serial);
      const payload = cborMap({ certificateSigningRequest: csrPem });
      gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 2500, times: 1 }]);
      const first = await arrive(serial, token, { clean: false }, metrics);
      for (const [index, filter] of answersOf(csrTopic).entries()) await first.subscribe(1 + index, filter);
      first.send({ cmd: 'publish', topic: csrTopic, payload, qos: 1, dup: false, retain: false, messageId: 3 });
      expect(await first.nextBytes(), 'stored, and will be answered').toBe('40020003');
      await first.leave();
      const second = await arrive(serial, token, { clean: false }, metrics);
      expect(second.unread, 'nothing of the session is kept').toEqual([]);
      for (const [index, filter] of answersOf(csrTopic).entries()) await second.subscribe(1 + index, filter);
      const { body } = await second.ask({ topic: csrTopic, payload, id: 3 });
      const asked = { certificateOwnershipToken: body.certificateOwnershipToken, parameters: { SerialNumber: serial } };
      await second.ask({ topic: templateTopic, payload: Buffer.from(encode(asked)), id: 4 });
      await second.leave();
      await expectRegistered(serial, body, privateKeyPem);
    });

    it('is rejected in CBOR with a number and two texts', async () => {
      const { serial, token } = await gateway.enrol('embedded-rejected');
      const client = await arrive(serial, token, {}, metrics);
      const { topic, payload, body } = await client.ask({
        ...{ topic: csrTopic, payload: cborMap({ certificateSigningRequest: 'none' }), id: 1 },
      });
      expect(topic).toBe(`${csrTopic}/rejected`);
      const { errorCode = '', errorMessage = '' } = body;
      expect(errorCode).toBe('InvalidCsr');
      // an unsigned integer in two bytes: 422
      expect(payload).toEqual(cborMap({ statusCode: Buffer.from('1901a6', 'hex'), errorCode, errorMessage }));
      await client.leave();
    });
  });

  describe('the AWS IoT Device Client', () => {
    const metrics = '?SDK=CPPv2&Version=1.31.1';

    it('sends both SUBSCRIBE at once, and is registered with the parameters of its template', async () => {
      const { serial, token } = await gateway.enrol('device-client');
      const client = await arrive(serial, token, { keepalive: 30 }, metrics);
      client.send(...answersOf(create('json')).map((filter, index) => subscribePacket(1 + index, filter)));
      expect([await client.nextBytes(), await client.nextBytes()]).toEqual([suback(1), suback(2)]);
      const { topic, body } = await client.ask({ topic: create('json'), payload: '{}', id: 3 });
      expect([topic, fieldsOf(body)]).toEqual([`${create('json')}/accepted`, keysReply]);
      const { certificateOwnershipToken, privateKey = '' } = body;
      client.send(...answersOf(provision('plain', 'json')).map((filter, index) => subscribePacket(4 + index, filter)));
      expect([await client.nextBytes(), await client.nextBytes()]).toEqual([suback(4), suback(5)]);
      const parameters = { SerialNumber: serial };
      const payload = JSON.stringify({ certificateOwnershipToken, parameters });
      const registered = await client.ask({ topic: provision('plain', 'json'), payload, id: 6 });
      expect(registered.body).toEqual({ deviceConfiguration: {}, thingName: serial });
      await client.leave();
      await expectRegistered(serial, body, privateKey);
    });

    it('reads all three fields of a rejection without looking whether they are there: they are, whatever was wrong', async () => {
      const { serial, token } = await gateway.enrol('device-client-rejected');
      const client = await arrive(serial, token, {}, metrics);
      const { certificateOwnershipToken } = (await client.ask({ topic: create('json'), payload: '{}', id: 1 })).body;
      const wrong: [string, string][] = [
        [createFromCsr('json'), JSON.stringify({ certificateSigningRequest: '' })],
        [createFromCsr('json'), 'no JSON'],
        [provision('plain', 'json'), '{}'],
        [provision('plain', 'json'), JSON.stringify({ certificateOwnershipToken })],
        [provision('plain', 'json'), JSON.stringify({ certificateOwnershipToken: 'x', parameters: {} })],
        [provision('no-such', 'json'), JSON.stringify({ certificateOwnershipToken, parameters: {} })],
      ];
      for (const [index, [topic, payload]] of wrong.entries()) {
        const reply = await client.ask({ topic, payload, id: 2 + index });
        expect(reply.topic).toBe(`${topic}/rejected`);
        expect(reply.body, textOf(reply)).toEqual({
          ...{ statusCode: 400, errorCode: expect.any(String), errorMessage: expect.stringMatching(/./) },
        });
      }
      const missing = JSON.stringify({ certificateOwnershipToken, parameters: {} });
      expect((await client.ask({ topic: provision('plain', 'json'), payload: missing, id: 8 })).body.errorMessage).toBe(
        'the template plain cannot be used: the parameter "SerialNumber" is missing',
      );
      // in the words of AWS, with its keys in its order
      const reply = await client.ask({ topic: provision('plain', 'json'), payload: '{}', id: 9 });
      expect(textOf(reply)).toBe(
        '{"statusCode":400,"errorCode":"InvalidCertificateOwnershipToken","errorMessage":"Certificate ownership token cannot be empty."}',
      );
      await client.leave();
    });
  });

  it('the plugin of Greengrass V2 (Java): "templateName" in the payload, and "=" as an escape, as its JSON writer does', async () => {
    const { serial, token } = await gateway.enrol('greengrass-v2');
    const { csrPem, privateKeyPem } = await makeDeviceKey(serial);
    const gson = (value: object) => JSON.stringify(value).replaceAll('=', '\\u003d');
    const client = await arrive(serial, token, { clean: true }, '?SDK=JavaV2&Version=1.20.5');
    for (const [index, filter] of answersOf(createFromCsr('json')).entries())
      expect(await client.subscribe(1 + index, filter)).toBe(suback(1 + index));
    const csr = gson({ certificateSigningRequest: csrPem });
    const { body } = await client.ask({ topic: createFromCsr('json'), payload: csr, id: 3 });
    expect(fieldsOf(body)).toEqual(csrReply);
    const { certificateOwnershipToken } = body;
    for (const [index, filter] of answersOf(provision('configured', 'json')).entries())
      expect(await client.subscribe(4 + index, filter)).toBe(suback(4 + index));
    const asked = { templateName: 'configured', certificateOwnershipToken, parameters: { SerialNumber: serial } };
    const registered = await client.ask({ topic: provision('configured', 'json'), payload: gson(asked), id: 6 });
    expect(textOf(registered)).toBe(`{"deviceConfiguration":{"url":"https://example.aws"},"thingName":"${serial}"}`);
    await client.leave();
    await expectRegistered(serial, body, privateKeyPem);
  });

  it('Greengrass Lite: it never subscribes, has another id than its serial, and a buffer of 5,000 bytes', async () => {
    const { serial, token } = await gateway.enrol('greengrass-lite');
    const { csrPem, privateKeyPem } = await makeDeviceKey(serial);
    const client = await arrive(serial, token, { clientId: randomUUID(), keepalive: 30 });
    const payload = JSON.stringify({ certificateSigningRequest: csrPem });
    const created = await client.ask({ topic: createFromCsr('json'), payload, id: 1 });
    expect([created.topic, fieldsOf(created.body)]).toEqual([`${createFromCsr('json')}/accepted`, csrReply]);
    expect(created.packetBytes).toBeLessThanOrEqual(buffers.greengrassLite);
    const { certificateOwnershipToken } = created.body;
    const asked = { certificateOwnershipToken, parameters: { SerialNumber: serial } };
    const topic = provision('plain', 'json');
    const rejected = await client.ask({ topic, payload: JSON.stringify({ ...asked, parameters: {} }), id: 2 });
    expect([rejected.topic, rejected.body.statusCode]).toEqual([`${topic}/rejected`, 400]);
    const registered = await client.ask({ topic, payload: JSON.stringify(asked), id: 3 });
    expect([registered.topic, registered.body.thingName]).toEqual([`${topic}/accepted`, serial]);
    await client.leave();
    await expectRegistered(serial, created.body, privateKeyPem);
  });

  describe('the Python sample of aws-samples', () => {
    it('subscribes to all four at first, rejected before accepted, in a session that is to last', async () => {
      const { serial, token } = await gateway.enrol('python-sample');
      const options = { clean: false, keepalive: 6 };
      const client = await arrive(serial, token, options, '?SDK=PythonV2&Version=1.11.0');
      const [certificates, template] = [create('json'), provision('plain', 'json')];
      const filters = ['rejected', 'accepted'].flatMap((end) => [`${template}/${end}`, `${certificates}/${end}`]);
      for (const [index, filter] of filters.entries())
        expect(await client.subscribe(1 + index, filter)).toBe(suback(1 + index));
      const { body } = await client.ask({ topic: certificates, payload: '{}', id: 5 });
      expect(body).not.toHaveProperty('deviceConfiguration');
      // json.dumps puts spaces behind colons and commas
      const payload = `{"certificateOwnershipToken": "${body.certificateOwnershipToken}", "parameters": {"SerialNumber": "${serial}"}}`;
      const registered = await client.ask({ topic: template, payload, id: 6 });
      expect(registered.body, 'by this key it knows that it is done').toHaveProperty('deviceConfiguration');
      expect(registered.body).not.toHaveProperty('certificateId');
      await client.leave();
      await expectRegistered(serial, body, body.privateKey ?? '');
      const again = await arrive(serial, token, options);
      expect(again.unread, 'nothing of the session is kept').toEqual([]);
      await again.leave();
    });

    it('in its first version: PUBLISH with QoS 0, and accepted never subscribed', async () => {
      const { serial, token } = await gateway.enrol('python-sample-1');
      const client = await arrive(serial, token, { clientId: 'fleet_provisioning_demo', keepalive: 600 });
      const [certificates, template] = [create('json'), provision('plain', 'json')];
      for (const [index, topic] of [template, certificates].entries())
        expect(await client.subscribe(1 + index, `${topic}/rejected`)).toBe(suback(1 + index));
      const { topic, body } = await client.ask({ topic: certificates, payload: '{}' });
      expect([topic, fieldsOf(body)]).toEqual([`${certificates}/accepted`, keysReply]);
      const { certificateOwnershipToken } = body;
      const payload = JSON.stringify({ certificateOwnershipToken, parameters: { SerialNumber: serial } });
      expect((await client.ask({ topic: template, payload })).body).toHaveProperty('deviceConfiguration');
      await client.leave();
      await expectRegistered(serial, body, body.privateKey ?? '');
    });
  });

  describe('rustot', () => {
    it.each(['json', 'cbor'] as const)(
      'in %s: both answers in one SUBSCRIBE, no byte of payload, and no field that it must not see',
      async (form) => {
        const { serial, token } = await gateway.enrol(`rustot-${form}`);
        const client = await arrive(serial, token, {});
        expect(await client.subscribe(1, ...answersOf(create(form)))).toBe(suback(1, 2));
        const { body } = await client.ask({ topic: create(form), id: 2 });
        expect(fieldsOf(body)).toEqual(keysReply);
        const topic = provision('plain', form);
        expect(await client.subscribe(3, ...answersOf(topic))).toBe(suback(3, 2));
        const asked = {
          certificateOwnershipToken: body.certificateOwnershipToken,
          parameters: { SerialNumber: serial },
        };
        const payload = form === 'json' ? JSON.stringify(asked) : Buffer.from(encode(asked));
        const registered = await client.ask({ topic, payload, id: 4 });
        expect(registered.body).toEqual({ deviceConfiguration: {}, thingName: serial });
        await client.leave();
        await expectRegistered(serial, body, body.privateKey ?? '');
      },
    );

    it('by its later version: one filter with +, and of the template accepted alone; a rejection reaches it all the same', async () => {
      const { serial, token } = await gateway.enrol('rustot-later');
      const client = await arrive(serial, token, {});
      expect(await client.subscribe(1, `${create('cbor')}/+`)).toBe(suback(1));
      const { certificateOwnershipToken } = (await client.ask({ topic: create('cbor'), id: 2 })).body;
      const topic = provision('plain', 'cbor');
      expect(await client.subscribe(3, `${topic}/accepted`)).toBe(suback(3));
      // the parameters that it does not have are left out
      const payload = Buffer.from(encode({ certificateOwnershipToken }));
      const reply = await client.ask({ topic, payload, id: 4 });
      expect(reply.topic).toBe(`${topic}/rejected`);
      expect(fieldsOf(reply.body)).toEqual(['errorCode', 'errorMessage', 'statusCode']);
      await client.leave();
    });
  });

  it('old JavaScript clients: the name of the template in the payload, other fields, and no wait between packets', async () => {
    const { serial, token } = await gateway.enrol('old-js');
    const client = await arrive(serial, token, {}, '?SDK=JavaScript&Version=2.2.15');
    const [certificates, template] = [create('json'), provision('plain', 'json')];
    const filters = [...answersOf(certificates), ...answersOf(template)];
    const asks: Packet = { cmd: 'publish', topic: certificates, payload: '{}', qos: 0, dup: false, retain: false };
    client.send(subscribePacket(1, ...filters), asks);
    expect(await client.nextBytes()).toBe(suback(1, 4));
    const { packet } = await client.next();
    if (packet.cmd !== 'publish') throw new Error(`the reply, but got ${packet.cmd}`);
    const body: FleetReply = JSON.parse(packet.payload.toString());
    const { certificateOwnershipToken, privateKey = '' } = body;
    client.send({ cmd: 'puback', messageId: packet.messageId ?? 0 });
    const payload = JSON.stringify({
      ...{ templateName: 'plain', certificateOwnershipToken, parameters: { SerialNumber: serial }, clientToken: 'x' },
    });
    const registered = await client.ask({ topic: template, payload, id: 2 });
    expect(textOf(registered), 'with no field that it did not ask for').toBe(
      `{"deviceConfiguration":{},"thingName":"${serial}"}`,
    );
    await client.leave();
    await expectRegistered(serial, body, privateKey);
  });

  it('the SDKs of version 2 in MQTT 5: a filter for each answer, and neither Response Topic nor Correlation Data', async () => {
    const { serial, token } = await gateway.enrol('sdk-v2-mqtt5');
    const client = await connectPackets(gateway.broker, 5);
    const { packet } = await (async () => {
      client.send({
        ...{ cmd: 'connect', protocolId: 'MQTT', protocolVersion: 5, clientId: serial, clean: true, keepalive: 60 },
        ...{ username: serial, password: Buffer.from(token) },
      });
      return client.next();
    })();
    expect(packet).toMatchObject({ cmd: 'connack', reasonCode: 0 });
    const [certificates, template] = [create('json'), provision('plain', 'json')];
    // SUBACK of version 5: no property, then the reason code
    for (const [index, filter] of answersOf(certificates).entries())
      expect(await client.subscribe(1 + index, filter)).toBe(`9004${hex(1 + index, 2)}0001`);
    const { topic, body } = await client.ask({ topic: certificates, payload: '{}', id: 3 });
    expect([topic, fieldsOf(body)]).toEqual([`${certificates}/accepted`, keysReply]);
    const { certificateOwnershipToken } = body;
    const payload = JSON.stringify({ certificateOwnershipToken, parameters: { SerialNumber: serial } });
    const registered = await client.ask({ topic: template, payload, id: 4 });
    expect(registered.body).toEqual({ deviceConfiguration: {}, thingName: serial });
    await client.leave();
    await expectRegistered(serial, body, body.privateKey ?? '');
  });
});

describe.skipIf(lacks('redis-server'))(
  'a client of AWS IoT Fleet Provisioning, when the quota of the account is used up',
  () => {
    let gateway: Gateway;
    const templates = templateFolder({ plain: fleetTemplate() });
    beforeAll(async () => {
      gateway = await startGateway({
        env: { CVM_TEMPLATES_DIR: templates.folder, CVM_QUOTAS: 'UpdateCertificate=0.5' },
      });
    });
    afterAll(async () => {
      await gateway?.close();
      templates.remove();
    });

    it('is told 429 in words, and where it stands; it is registered with one certificate when it comes back', async () => {
      // first, since the line of the others moves while this one is enrolled
      const { serial, token } = await gateway.enrolOnRoster('quota-fleet');
      const others = await Promise.all(
        Array.from({ length: 8 }, async (_, index) => {
          const before = await gateway.enrolOnRoster(`before-${index}`);
          const device = await connectDevice(gateway.broker);
          const request = JSON.stringify({ token: before.token, key: 'ec' });
          await device.client.publishAsync(`cvm/request/${before.serial}`, request, { qos: 1 });
          return device;
        }),
      );
      const client = await connectPackets(gateway.broker);
      await client.connect({
        clientId: serial,
        clean: true,
        keepalive: 60,
        username: serial,
        password: Buffer.from(token),
      });
      const { csrPem } = await makeDeviceKey(serial);
      const asked = { topic: createFromCsr('json'), payload: JSON.stringify({ certificateSigningRequest: csrPem }) };
      const first = await client.askOnce({ ...asked, id: 1 });
      expect(first.topic).toBe(`${createFromCsr('json')}/rejected`);
      expect(first.body).toEqual({
        ...{ statusCode: 429, errorCode: 'Throttled' },
        errorMessage: expect.stringMatching(/^too many requests: .* number \d+ in the line .*; ask again in \d+ s$/),
      });
      for (const { client: other } of others) await other.endAsync(true);
      const reply = await client.ask({ ...asked, id: 2 });
      expect(reply.topic).toBe(`${createFromCsr('json')}/accepted`);
      expect(reply.body.certificateId).toBe((await gateway.registry.find(serial))?.certificateId);
      await client.leave();
    });
  },
);

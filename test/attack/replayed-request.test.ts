import { type AddressInfo, connect, createServer } from 'node:net';
import { ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { within } from '../../runtime/deadline.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(lacks('redis-server'))('a captured request', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('is worthless once the device has acknowledged: no certificate, no key', async () => {
    const { serial, token } = await gateway.enrol('replayed');
    const device = await connectDevice(gateway.broker);
    const request = JSON.stringify({ token, key: 'ec' });
    await device.client.publishAsync(`cvm/request/${serial}`, request, { qos: 1 });
    const { certificateId } = await device.next();
    await device.client.publishAsync(`cvm/ack/${serial}`, JSON.stringify({ certificateId }), { qos: 1 });
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeDefined();
    await gateway.queueIsEmpty();
    const replayed = await askOnce(gateway.broker, serial, request, { subscribe: true });
    expect(replayed).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    expect(replayed).not.toHaveProperty('privateKey');
    await device.client.endAsync(true);
  });

  it('is worthless for another serial', async () => {
    const { token } = await gateway.enrol('replayed-one');
    await gateway.enrol('replayed-other');
    expect(await askOnce(gateway.broker, 'replayed-other', { token, key: 'ec' })).toMatchObject({
      errorCode: 'InvalidToken',
    });
  });

  it('is worthless as recorded TLS bytes: another handshake has other keys', async () => {
    const { serial, token } = await gateway.enrol('replayed-bytes');
    const captured: Buffer[] = [];
    const wire = createServer((device) => {
      const broker = connect(gateway.broker.port, '127.0.0.1');
      device.on('data', (chunk) => captured.push(chunk)).pipe(broker);
      broker.pipe(device);
      for (const socket of [device, broker]) socket.on('error', () => {});
    });
    await new Promise<void>((resolve) => wire.listen(0, '127.0.0.1', resolve));
    const { port } = wire.address() as AddressInfo;
    const broker = { ...gateway.broker, port };
    expect(await askOnce(broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    wire.close();
    const received = () => gateway.broker.metric('cvm_broker_messages_received_total');
    const before = await received();

    // while the replay window is open, all bytes at once and unchanged
    for (const pieces of [[Buffer.concat(captured)], captured]) {
      const replayer = connect(gateway.broker.port, '127.0.0.1');
      replayer.on('error', () => {});
      const heard: Buffer[] = [];
      replayer.on('data', (chunk: Buffer) => heard.push(chunk));
      const ended = new Promise<void>((resolve) => replayer.once('close', () => resolve()));
      for (const piece of pieces) {
        replayer.write(piece);
        await settle(20);
      }
      await within(45_000, 'cutting', ended);
      // TLS records: of the handshake (22), an alert (21), or data that is encrypted to keys that only the device had
      expect(Buffer.concat(heard).includes(Buffer.from('PRIVATE KEY'))).toBe(false);
    }
    expect(await received()).toBe(before);
  });

  it('is not answered on a connection of another serial, and its device hears nothing', async () => {
    const { serial, token } = await gateway.enrol('replayed-mine');
    const other = await gateway.enrol('replayed-theirs');
    const request = JSON.stringify({ token, key: 'ec' });
    const device = await connectDevice(gateway.broker);
    await device.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    await device.client.publishAsync(requestTopic(serial), request, { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    const replayer = await connectDevice(gateway.broker, { username: other.serial, password: other.token });
    await replayer.client.publishAsync(requestTopic(serial), request, { qos: 1 });
    const answer = await replayer.next();
    expect(answer).toMatchObject({ status: 'rejected', errorCode: 'Forbidden' });
    expect(answer).not.toHaveProperty('certificatePem');
    await settle();
    expect([replayer.heard, device.heard]).toEqual([[], []]);
    for (const { client } of [replayer, device]) await client.endAsync(true);
  });

  it('with its token gets the same certificate at any broker until the device acknowledges, never another one', async () => {
    const { serial, token } = await gateway.enrol('replayed-elsewhere');
    const request = JSON.stringify({ token, key: 'ec' });
    const device = await connectDevice(gateway.broker);
    await device.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    await device.client.publishAsync(requestTopic(serial), request, { qos: 1 });
    const first = await device.next();
    const stranger = await connectDevice(gateway.broker);
    await stranger.client.subscribeAsync(replyTopic(serial), { qos: 1 });

    await gateway.queueIsEmpty();
    const second = await askOnce(await gateway.startOneBroker(), serial, request);
    expect(second).toMatchObject({
      status: 'accepted',
      certificateId: first.certificateId,
      privateKey: first.privateKey,
    });
    // a subscriber that presented the token hears the answer; a mere subscriber does not
    expect(await device.next()).toMatchObject({ certificateId: first.certificateId });
    await settle();
    expect([device.heard, stranger.heard]).toEqual([[], []]);
    const { principals } = await gateway.iot.send(new ListThingPrincipalsCommand({ thingName: serial }));
    expect(principals).toHaveLength(1);
    for (const { client } of [device, stranger]) await client.endAsync(true);
  });

  it("with a CSR yields the certificate without its key, and no certificate for the attacker's key", async () => {
    const { serial, token } = await gateway.enrol('replayed-csr');
    const [{ csrPem: csr }, own] = [await makeDeviceKey(serial), await makeDeviceKey(serial)];
    const first = await askOnce(gateway.broker, serial, { token, csr });
    const replayed = await askOnce(gateway.broker, serial, { token, csr });
    expect(replayed).toMatchObject({ status: 'accepted', certificateId: first.certificateId });
    expect(replayed).not.toHaveProperty('privateKey');
    await gateway.queueIsEmpty();
    expect(await askOnce(gateway.broker, serial, { token, csr: own.csrPem })).toMatchObject({
      errorCode: 'KeyMismatch',
    });
    await gateway.queueIsEmpty();
    const without = await askOnce(gateway.broker, serial, { token, key: 'ec' });
    expect(without).toMatchObject({ errorCode: 'KeyMismatch' });
    for (const key of ['certificatePem', 'privateKey']) expect(without).not.toHaveProperty(key);
  });
});

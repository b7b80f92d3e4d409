import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, text } from '../support/raw-mqtt.ts';

const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

const closed = (client: { once(event: 'close', listener: () => void): unknown }) =>
  new Promise<void>((resolve) => client.once('close', () => resolve()));

describe.skipIf(lacks('redis-server'))('a message in the name of the gateway or of another device', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it.each(['elsewhere', 'cvm/reply/victim', '$SYS/x', '$share/g/cvm/reply/victim'])(
    'closes the connection: %s',
    async (topic) => {
      const ears = await connectDevice(gateway.broker);
      await ears.client.subscribeAsync('cvm/reply/victim', { qos: 1 });
      const device = await connectDevice(gateway.broker);
      const ended = closed(device.client);
      device.client.publish(topic, 'x', { qos: 1, retain: true }, () => {});
      await ended;
      expect(ears.heard).toEqual([]);
      await ears.client.endAsync(true);
    },
  );

  it('is not quoted in the log: a topic may hold a token', async () => {
    const device = await connectDevice(gateway.broker);
    const ended = closed(device.client);
    device.client.publish('cvm/request/SN-1/my-secret-token', 'x', { qos: 1 }, () => {});
    await ended;
    await expect.poll(() => gateway.logText()).toContain('devices publish to cvm/request/');
    expect(gateway.logText()).not.toContain('my-secret-token');
  });

  it('cannot be left as a will, not even on the own topic: the CONNECT gets CONNACK 5, and no subscriber hears it', async () => {
    const { serial, token } = await gateway.enrol('victim');
    const ears = [
      await connectDevice(gateway.broker),
      await connectDevice(gateway.broker, { username: serial, password: token }),
    ];
    for (const { client } of ears) await client.subscribeAsync(replyTopic(serial), { qos: 1 });
    // a will with QoS 0 or 1, retained or not [MQTT-3.1.2]
    for (const topic of [replyTopic(serial), requestTopic(serial), 'elsewhere'])
      for (const flags of [0x06, 0x0e, 0x2e]) {
        const device = await connectRaw(gateway.broker);
        device.send(connectWith('leaves-a-will', { flags, payload: [text(topic), text('{"status":"accepted"}')] }));
        await device.closed;
        expect(device.heard).toEqual([{ type: 2, flags: 0, body: Buffer.from([0, 5]) }]);
      }
    await settle();
    expect(ears.flatMap(({ heard }) => heard)).toEqual([]);
    for (const { client } of ears) await client.endAsync(true);
  });

  it('cannot be retained on the own topic: the request is refused, and no later subscriber hears it', async () => {
    const { serial, token } = await gateway.enrol('retains');
    const device = await connectDevice(gateway.broker);
    const request = JSON.stringify({ token, key: 'ec', id: 'retained' });
    await device.client.publishAsync(requestTopic(serial), request, { qos: 1, retain: true });
    expect(await device.next()).toMatchObject({ status: 'rejected', errorCode: 'InvalidRequest' });
    // the request changed nothing
    expect(await gateway.registry.find(serial)).toMatchObject({ attempt: 0, state: 'enrolled' });
    for (const credentials of [{}, { username: serial, password: token }]) {
      const subscriber = await connectDevice(gateway.broker, credentials);
      await subscriber.client.subscribeAsync(replyTopic(serial), { qos: 1 });
      await expect(subscriber.client.subscribeAsync(requestTopic(serial), { qos: 1 })).rejects.toThrow();
      await settle();
      expect(subscriber.heard).toEqual([]);
      await subscriber.client.endAsync(true);
    }
    await device.client.endAsync(true);
  });

  it("cannot be retained on a victim's reply topic for later subscribers", async () => {
    const { serial, token } = await gateway.enrol('victim-2');
    for (const qos of [0, 1] as const) {
      const device = await connectDevice(gateway.broker);
      const ended = closed(device.client);
      device.client.publish(replyTopic(serial), '{"status":"accepted"}', { qos, retain: true }, () => {});
      await ended;
    }
    const victim = await connectDevice(gateway.broker, { username: serial, password: token });
    await victim.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    await settle();
    expect(victim.heard).toEqual([]);
    await victim.client.endAsync(true);
  });

  it('is refused on a connection that named another serial before', async () => {
    const device = await connectDevice(gateway.broker, { username: 'mine', password: 'x'.repeat(30) });
    await device.client.publishAsync('cvm/request/theirs', JSON.stringify({ token: 'y'.repeat(30) }), { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'Forbidden' });
    await device.client.endAsync(true);
  });

  it('with a user name that is not a serial is refused with CONNACK 4; a user name without a password is ignored', async () => {
    await expect(connectDevice(gateway.broker, { username: 'no serial', password: 'x' })).rejects.toMatchObject({
      code: 4,
    });
    const device = await connectDevice(gateway.broker, { username: '?SDK=FreeRTOS&Version=1' });
    await device.client.endAsync(true);
  });
});

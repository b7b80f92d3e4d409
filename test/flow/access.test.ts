import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/topics.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const closed = (client: { once(event: 'close', listener: () => void): unknown }) =>
  new Promise<void>((resolve) => client.once('close', () => resolve()));
const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(lacks('redis-server'))('nobody gets what is not theirs', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it.each([
    '#',
    '+/+/+',
    'cvm/#',
    'cvm/reply/+',
    '$SYS/#',
    '$share/g/cvm/reply/sub-own',
    'cvm/reply/another',
    'cvm/request/sub-own',
  ])('a subscription to %s gets SUBACK 128', async (filter) => {
    const device = await connectDevice(gateway.broker, { username: 'sub-own', password: 'x'.repeat(30) });
    await expect(device.client.subscribeAsync(filter, { qos: 1 })).rejects.toThrow();
    expect(await device.client.subscribeAsync('cvm/reply/sub-own', { qos: 1 })).toMatchObject([{ qos: 1 }]);
    await device.client.endAsync(true);
  });

  it.each(['elsewhere', 'cvm/reply/victim', '$SYS/x'])('publishing to %s closes the connection', async (topic) => {
    const device = await connectDevice(gateway.broker);
    const ended = closed(device.client);
    device.client.publish(topic, 'x', { qos: 1 }, () => {});
    await ended;
  });

  it('who subscribed to the reply topic of another device without its token hears nothing', async () => {
    const { serial, token } = await gateway.enrol('victim');
    const silent = await connectDevice(gateway.broker);
    const guesser = await connectDevice(gateway.broker, {
      username: serial,
      password: 'a-wrong-guess-of-the-token-000',
    });
    for (const eavesdropper of [silent, guesser])
      await eavesdropper.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    await settle();
    expect([...silent.heard, ...guesser.heard]).toEqual([]);
    for (const { client } of [silent, guesser, device]) await client.endAsync(true);
  });

  it('two connections with one client id live side by side', async () => {
    const one = await connectDevice(gateway.broker, { clientId: 'same' });
    const two = await connectDevice(gateway.broker, { clientId: 'same' });
    await settle();
    expect([one.client.connected, two.client.connected]).toEqual([true, true]);
    for (const { client } of [one, two]) await client.endAsync(true);
  });

  it('a will is refused', async () => {
    await expect(
      connectOnce({
        host: 'localhost',
        port: gateway.broker.port,
        ca: gateway.broker.caPem,
        will: { topic: 'cvm/reply/victim', payload: Buffer.from('x'), qos: 1, retain: true },
      }),
    ).rejects.toThrow();
  });

  it('a persistent session is not kept: nothing waits for who comes back', async () => {
    const options = {
      host: 'localhost',
      port: gateway.broker.port,
      ca: gateway.broker.caPem,
      clientId: 'persistent',
      clean: false,
    };
    const first = await connectOnce(options);
    await first.subscribeAsync(replyTopic('persistent'), { qos: 1 });
    await first.endAsync();
    const second = await connectOnce(options);
    expect((second as unknown as { _resubscribeTopics: object })._resubscribeTopics).toEqual({});
    await second.endAsync();
  });

  it('a user name that is no serial is refused with CONNACK 4; one without a password is ignored', async () => {
    await expect(connectDevice(gateway.broker, { username: 'no serial', password: 'x' })).rejects.toMatchObject({
      code: 4,
    });
    const device = await connectDevice(gateway.broker, { username: '?SDK=FreeRTOS&Version=1' });
    await device.client.endAsync(true);
  });

  it('a packet that announces 256 MiB closes the connection before its body', async () => {
    const socket = connect({
      host: '127.0.0.1',
      port: gateway.broker.port,
      servername: 'localhost',
      ca: gateway.broker.caPem,
    });
    await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()));
    const ended = closed(socket);
    socket.on('error', () => {});
    socket.write(Buffer.from([0x10, 0xff, 0xff, 0xff, 0x7f]));
    await ended;
    expect(gateway.logText()).toContain('268435455 bytes');
  });

  it('TLS 1.1 is refused', async () => {
    const socket = connect({
      host: '127.0.0.1',
      port: gateway.broker.port,
      maxVersion: 'TLSv1.1',
      minVersion: 'TLSv1',
      ca: gateway.broker.caPem,
      servername: 'localhost',
      ciphers: 'DEFAULT@SECLEVEL=0',
    });
    await expect(
      new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject)),
    ).rejects.toThrow();
  });
});

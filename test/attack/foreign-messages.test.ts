import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

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

  it('cannot be left as a will', async () => {
    await expect(
      connectOnce({
        host: 'localhost',
        port: gateway.broker.port,
        ca: gateway.broker.caPem,
        will: { topic: 'cvm/reply/victim', payload: Buffer.from('x'), qos: 1, retain: true },
      }),
    ).rejects.toThrow();
  });

  it('is not said by one connection for two devices: it speaks for the first that it names', async () => {
    const device = await connectDevice(gateway.broker, { username: 'mine', password: 'x'.repeat(30) });
    await device.client.publishAsync('cvm/request/theirs', JSON.stringify({ token: 'y'.repeat(30) }), { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'Forbidden' });
    await device.client.endAsync(true);
  });

  it('a user name that is no serial is refused with CONNACK 4; one without a password is ignored', async () => {
    await expect(connectDevice(gateway.broker, { username: 'no serial', password: 'x' })).rejects.toMatchObject({
      code: 4,
    });
    const device = await connectDevice(gateway.broker, { username: '?SDK=FreeRTOS&Version=1' });
    await device.client.endAsync(true);
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a subscription to more than the own reply topic', () => {
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
    '$share/g/#',
    'cvm/reply/another',
    'cvm/request/sub-own',
    'cvm/reply/sub-own/',
    '/cvm/reply/sub-own',
  ])('gets SUBACK 128: %s', async (filter) => {
    const device = await connectDevice(gateway.broker, { username: 'sub-own', password: 'x'.repeat(30) });
    await expect(device.client.subscribeAsync(filter, { qos: 1 })).rejects.toThrow();
    expect(await device.client.subscribeAsync('cvm/reply/sub-own', { qos: 1 })).toMatchObject([{ qos: 1 }]);
    await device.client.endAsync(true);
  });
});

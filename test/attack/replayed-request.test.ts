import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a request that somebody captured', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('is worth nothing once the device has acknowledged: no certificate, no key', async () => {
    const { serial, token } = await gateway.enrol('replayed');
    const device = await connectDevice(gateway.broker);
    const request = JSON.stringify({ token, key: 'ec' });
    await device.client.publishAsync(`cvm/request/${serial}`, request, { qos: 1 });
    const { certificateId } = await device.next();
    await device.client.publishAsync(`cvm/ack/${serial}`, JSON.stringify({ certificateId }), { qos: 1 });
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeDefined();
    const replayed = await askOnce(gateway.broker, serial, request, { subscribe: true });
    expect(replayed).toMatchObject({ errorCode: 'AlreadyProvisioned' });
    expect(replayed).not.toHaveProperty('privateKey');
    await device.client.endAsync(true);
  });

  it('is worth nothing for another serial', async () => {
    const { token } = await gateway.enrol('replayed-one');
    await gateway.enrol('replayed-other');
    expect(await askOnce(gateway.broker, 'replayed-other', { token, key: 'ec' })).toMatchObject({
      errorCode: 'InvalidToken',
    });
  });
});

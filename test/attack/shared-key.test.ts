import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a CSR with the key of another device', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('is refused with any subject, and the device may ask again with its own key', async () => {
    const [one, other] = [await gateway.enrol('key-one'), await gateway.enrol('key-other')];
    const { csrPem: csr } = await makeDeviceKey('key-one');
    expect(await askOnce(gateway.broker, 'key-one', { token: one.token, csr })).toMatchObject({ status: 'accepted' });
    expect(await askOnce(gateway.broker, 'key-other', { token: other.token, csr })).toMatchObject({
      status: 'rejected',
      statusCode: 422,
      errorCode: 'InvalidCsr',
      errorMessage: expect.stringContaining('another device'),
    });
    await gateway.queueIsEmpty();
    const { csrPem: own } = await makeDeviceKey('key-other');
    expect(await askOnce(gateway.broker, 'key-other', { token: other.token, csr: own })).toMatchObject({
      status: 'accepted',
    });
    // the first device keeps its answer
    expect(await askOnce(gateway.broker, 'key-one', { token: one.token, csr })).toMatchObject({ status: 'accepted' });
  });
});

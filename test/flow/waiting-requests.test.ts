import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a connection with waiting requests', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it("may have eight of them: the ninth is Throttled, and the eight and other connections' requests are not", async () => {
    expect(defaultLimits.maxRequestsPerConnection).toBe(8);
    const { serial, token } = await gateway.enrolOnRoster('asks-a-lot');
    const other = await gateway.enrolOnRoster('asks-once');
    // no worker answers for a while
    await gateway.worker.close();
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    const ask = async (id: string, csr: string) =>
      device.client.publishAsync(requestTopic(serial), JSON.stringify({ id, csr }), { qos: 1 });
    const csrs = await Promise.all(Array.from({ length: 9 }, async () => (await makeDeviceKey(serial)).csrPem));
    const [first = '', ninth = ''] = [csrs[0], csrs[8]];
    for (const [index, csr] of csrs.slice(0, 8).entries()) await ask(`${index + 1}`, csr);
    // each has its PUBACK now
    expect(device.heard).toEqual([]);
    await ask('9', ninth);
    expect(await device.next()).toMatchObject({
      id: '9',
      statusCode: 429,
      errorCode: 'Throttled',
      retryAfter: expect.any(Number),
    });
    // one that waits already is not a new one
    await ask('1', first);
    const stranger = await connectDevice(gateway.broker);
    await stranger.client.publishAsync(requestTopic('asks-once'), JSON.stringify({ token: other.token, key: 'ec' }), {
      qos: 1,
    });
    expect([device.heard, stranger.heard]).toEqual([[], []]);

    gateway.startOneWorker();
    expect(await stranger.next()).toMatchObject({ status: 'accepted' });
    const replies = [];
    while (replies.length < 8) replies.push(await device.next());
    // the first key gets the certificate; the others get KeyMismatch
    expect(replies.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4', '5', '6', '7', '8']);
    expect(replies.map(({ status, errorCode }) => errorCode ?? status).sort()).toEqual([
      ...Array(7).fill('KeyMismatch'),
      'accepted',
    ]);
    // there is room again
    await ask('10', ninth);
    expect(await device.next()).toMatchObject({ id: '10', errorCode: 'KeyMismatch' });
    for (const { client } of [device, stranger]) await client.endAsync(true);
    gateway.startOneWorker();
  });

  it('that asks for the same with one id after the other gets an answer for each', async () => {
    const { serial, token } = await gateway.enrolOnRoster('many-ids');
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    const ids = Array.from({ length: 8 }, (_, index) => `n${index}`);
    const ask = (id: string) =>
      device.client.publishAsync(requestTopic(serial), JSON.stringify({ id, key: 'ec' }), { qos: 1 });
    await Promise.all(ids.map(ask));
    const replies = [];
    while (replies.length < ids.length) replies.push(await device.next());
    expect(replies.map(({ id, errorCode }) => errorCode ?? id).sort()).toEqual(ids);
    expect(new Set(replies.map(({ certificateId }) => certificateId)).size).toBe(1);
    await device.client.endAsync(true);
  });

  it('is answered when it asks again after Redis has lost everything', async () => {
    const { serial, token } = await gateway.enrolOnRoster('asks-a-redis-that-forgot');
    await gateway.worker.close();
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    const ask = (id: string) =>
      device.client.publishAsync(requestTopic(serial), JSON.stringify({ id, key: 'ec' }), { qos: 1 });
    await ask('first');
    const redis = new Redis(gateway.redis.url);
    await redis.flushall();
    await redis.quit();
    await ask('first');
    await ask('second');
    gateway.startOneWorker();
    const replies = [await device.next(), await device.next()];
    expect(replies.map(({ id, status }) => `${id} ${status}`).sort()).toEqual(['first accepted', 'second accepted']);
    expect(device.heard).toEqual([]);
    await device.client.endAsync(true);
  });
});

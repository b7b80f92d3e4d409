import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { csrsOfOneKey } from '../support/csr.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a connection with waiting requests', () => {
  let gateway: Gateway;
  /** the only one */
  let worker: Gateway['worker'];
  beforeAll(async () => {
    gateway = await startGateway();
    worker = gateway.worker;
  });
  afterAll(() => gateway?.close());

  it("may have eight of them: the ninth is Throttled, and the eight and other connections' requests are not", async () => {
    expect(defaultLimits.maxRequestsPerConnection).toBe(8);
    const { serial, token } = await gateway.enrolOnRoster('asks-a-lot');
    const other = await gateway.enrolOnRoster('asks-once');
    // no worker answers for a while
    await worker.close();
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    const ask = async (id: string, csr: string) =>
      device.client.publishAsync(requestTopic(serial), JSON.stringify({ id, csr, pending: false }), { qos: 1 });
    const { csrPem } = await makeDeviceKey(serial);
    for (let index = 1; index <= 8; index++) await ask(`${index}`, csrPem);
    // each has its PUBACK now
    expect(device.heard).toEqual([]);
    await ask('9', csrPem);
    expect(await device.next()).toMatchObject({
      id: '9',
      statusCode: 429,
      errorCode: 'Throttled',
      retryAfter: expect.any(Number),
    });
    // one that waits already is not a new one
    await ask('1', csrPem);
    const stranger = await connectDevice(gateway.broker);
    await stranger.client.publishAsync(
      requestTopic('asks-once'),
      JSON.stringify({ token: other.token, key: 'ec', pending: false }),
      { qos: 1 },
    );
    expect([device.heard, stranger.heard]).toEqual([[], []]);

    worker = gateway.startOneWorker();
    expect(await stranger.next()).toMatchObject({ status: 'accepted' });
    const replies = [];
    while (replies.length < 8) replies.push(await device.next());
    expect(replies.map(({ id }) => id).sort()).toEqual(['1', '2', '3', '4', '5', '6', '7', '8']);
    expect(new Set(replies.map(({ certificateId }) => certificateId)).size).toBe(1);
    await gateway.queueIsEmpty();
    // there is room again, and the first key has the certificate
    await ask('10', (await makeDeviceKey(serial)).csrPem);
    expect(await device.next()).toMatchObject({ id: '10', errorCode: 'KeyMismatch' });
    for (const { client } of [device, stranger]) await client.endAsync(true);
  });

  it('has one place, however many keys it makes: a request for another key is Throttled, on any connection', async () => {
    const { serial, token } = await gateway.enrolOnRoster('many-keys');
    const redis = new Redis(gateway.redis.url);
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 5000, times: 1 }]);
    const devices = [await connectDevice(gateway.broker), await connectDevice(await gateway.startOneBroker())];
    const first = await makeDeviceKey(serial);
    const ask = async (index: number, id: string, csr: string) =>
      devices[index]?.client.publishAsync(requestTopic(serial), JSON.stringify({ token, id, csr }), { qos: 1 });
    await ask(0, 'first', first.csrPem);
    for (const index of [0, 1])
      for (let more = 0; more < 3; more++) {
        await ask(index, 'other', (await makeDeviceKey(serial)).csrPem);
        expect(await devices[index]?.next()).toMatchObject({ id: 'other', errorCode: 'Throttled', retryAfter: 10 });
      }
    expect(await redis.keys('{cvm}:asks:de:*')).toHaveLength(1);
    expect(await devices[0]?.next()).toMatchObject({ id: 'first', status: 'accepted' });
    for (const device of devices) await device.client.endAsync(true);
    await redis.quit();
  });

  it('keeps its place with a CSR that is signed anew for the same key, and each is answered by the one certificate', async () => {
    const { serial, token } = await gateway.enrolOnRoster('signs-anew');
    await worker.close();
    const csrs = await csrsOfOneKey(serial, 4);
    expect(new Set(csrs).size).toBe(4);
    const devices = [await connectDevice(gateway.broker), await connectDevice(await gateway.startOneBroker())];
    for (const [index, csr] of csrs.entries())
      await devices[index % 2]?.client.publishAsync(
        requestTopic(serial),
        JSON.stringify({ token, csr, id: `${index}`, pending: false }),
        { qos: 1 },
      );
    worker = gateway.startOneWorker();
    const replies = [];
    for (const device of [...devices, ...devices]) replies.push(await device.next());
    expect(replies.map(({ id, status }) => `${id} ${status}`).sort()).toEqual(csrs.map((_, id) => `${id} accepted`));
    expect(new Set(replies.map(({ certificateId }) => certificateId)).size).toBe(1);
    for (const device of devices) await device.client.endAsync(true);
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
    await worker.close();
    const device = await connectDevice(gateway.broker, { username: serial, password: token });
    const ask = (id: string) =>
      device.client.publishAsync(requestTopic(serial), JSON.stringify({ id, key: 'ec', pending: false }), { qos: 1 });
    await ask('first');
    const redis = new Redis(gateway.redis.url);
    await redis.flushall();
    await redis.quit();
    await ask('first');
    await ask('second');
    worker = gateway.startOneWorker();
    const replies = [await device.next(), await device.next()];
    expect(replies.map(({ id, status }) => `${id} ${status}`).sort()).toEqual(['first accepted', 'second accepted']);
    expect(device.heard).toEqual([]);
    await device.client.endAsync(true);
  });
});

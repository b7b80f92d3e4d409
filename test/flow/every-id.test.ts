import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice, type Reply, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const ids = Array.from({ length: 12 }, (_, index) => `id-${index + 10}`);

describe.skipIf(lacks('redis-server'))('every id whose request got a PUBACK is answered', () => {
  let gateway: Gateway;
  let worker: Gateway['worker'];
  beforeAll(async () => {
    gateway = await startGateway();
    worker = gateway.worker;
  });
  afterAll(() => gateway?.close());

  const slowly = (ms: number) =>
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms, times: 1 }]);
  /** Resolves when each has its PUBACK. */
  const ask = async ({ client }: TestDevice, serial: string, token: string, wanted: readonly string[]) => {
    for (const id of wanted)
      await client.publishAsync(requestTopic(serial), JSON.stringify({ token, id, key: 'ec' }), { qos: 1 });
  };
  const hear = async (device: TestDevice, count: number) => {
    const replies: Reply[] = [];
    while (replies.length < count) replies.push(await device.next());
    return replies;
  };
  const answered = (replies: readonly Reply[]) => replies.map(({ id = '' }) => id).sort();

  it('twelve for the same on one connection: eight with the certificate, the others with Throttled', async () => {
    const { serial, token } = await gateway.enrolOnRoster('twelve');
    const device = await connectDevice(gateway.broker);
    // all of them wait, however long it takes to ask
    await worker.close();
    await ask(device, serial, token, ids);
    worker = gateway.startOneWorker();
    const replies = await hear(device, 12);
    expect(answered(replies)).toEqual([...ids].sort());
    const accepted = replies.filter(({ status }) => status === 'accepted');
    expect(accepted).toHaveLength(8);
    expect(new Set(accepted.map(({ certificateId }) => certificateId)).size).toBe(1);
    expect(replies.filter(({ errorCode }) => errorCode === 'Throttled')).toHaveLength(4);
    await device.client.endAsync(true);
  });

  it('for the same on several connections, and at another broker', async () => {
    const { serial, token } = await gateway.enrolOnRoster('several');
    const another = await gateway.startOneBroker();
    slowly(1000);
    const devices = [
      await connectDevice(gateway.broker),
      await connectDevice(gateway.broker),
      await connectDevice(another),
    ];
    const wanted = devices.map((_, index) => ids.slice(4 * index, 4 * index + 4));
    for (const [index, device] of devices.entries()) await ask(device, serial, token, wanted[index] ?? []);
    for (const [index, device] of devices.entries()) {
      expect(answered(await hear(device, 4))).toEqual(wanted[index]);
      await device.client.endAsync(true);
    }
  });

  it('when the worker is replaced while they wait', { timeout: 60_000 }, async () => {
    const { serial, token } = await gateway.enrolOnRoster('worker-replaced');
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'fail-before', times: 3 }]);
    const device = await connectDevice(gateway.broker);
    await ask(device, serial, token, ids.slice(0, 4));
    await worker.close();
    await ask(device, serial, token, ids.slice(4, 8));
    worker = gateway.startOneWorker();
    const replies = await hear(device, 8);
    expect(answered(replies)).toEqual(ids.slice(0, 8));
    expect(replies.map(({ status }) => status)).toEqual(Array(8).fill('accepted'));
    await device.client.endAsync(true);
  });

  it('after a lost connection, when it asks again with the same id', async () => {
    const { serial, token } = await gateway.enrolOnRoster('reconnects');
    slowly(1000);
    const [id = ''] = ids;
    for (const leave of [true, false]) {
      const device = await connectDevice(gateway.broker);
      await ask(device, serial, token, [id]);
      if (!leave) expect(await hear(device, 1)).toMatchObject([{ status: 'accepted', id }]);
      await device.client.endAsync(true);
    }
  });

  it('with the first certificate, whatever `key` a later request names', async () => {
    const { serial, token } = await gateway.enrolOnRoster('another-key');
    const device = await connectDevice(gateway.broker);
    const replies: Reply[] = [];
    for (const key of ['ec', 'rsa']) {
      await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, id: key, key }), { qos: 1 });
      replies.push(await device.next());
    }
    expect(replies.map(({ id, status }) => [id, status])).toEqual([
      ['ec', 'accepted'],
      ['rsa', 'accepted'],
    ]);
    expect(replies[1]?.certificateId).toBe(replies[0]?.certificateId);
    expect(replies[1]?.privateKey).toBe(replies[0]?.privateKey);
    await device.client.endAsync(true);
  });
});

describe.skipIf(lacks('redis-server'))('a token that no device can have', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('is refused with the reason, and is no attempt at a token: the right one is not delayed', async () => {
    const { serial, token } = await gateway.enrol('malformed');
    for (const [index, malformed] of ['x'.repeat(513), `${token}\n`, `"${token}"`, `${token} `].entries()) {
      for (const inPassword of [true, false]) {
        const device = await connectDevice(gateway.broker, inPassword ? { username: serial, password: malformed } : {});
        const request = inPassword ? { id: 'p' } : { id: 'p', token: malformed };
        await device.client.publishAsync(requestTopic(serial), JSON.stringify(request), { qos: 1 });
        const reply = await device.next();
        expect(reply).toMatchObject({ id: 'p', errorCode: 'InvalidRequest' });
        expect(reply.errorMessage).toMatch(
          [/513 characters/, /control character/, /quotes/, /a space/][index] as RegExp,
        );
        expect(reply.errorMessage?.includes('password')).toBe(inPassword);
        await device.client.endAsync(true);
      }
    }
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    await device.client.endAsync(true);
  });
});

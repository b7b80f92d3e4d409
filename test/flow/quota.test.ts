import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

type Stats = Record<string, { calls: number; throttled: number }>;

describe.skipIf(lacks('redis-server'))("a gateway that keeps to the account's quotas", () => {
  const devices = 24;
  let gateway: Gateway;
  beforeAll(async () => {
    // faster than AWS's defaults, so that the test is not long
    const quotas = { UpdateCertificate: 12, CreateCertificateFromCsr: 20, AttachPolicy: 20 };
    const env = Object.entries(quotas).map(([operation, rate]) => `${operation}=${rate}`);
    gateway = await startGateway({ quotas, env: { CVM_QUOTAS: env.join(',') } });
  });
  afterAll(() => gateway?.close());
  const stats = async () => (await (await fetch(`${gateway.aws.httpUrl}/_local/stats`)).json()) as Stats;

  it('serves all that ask at once in the order of their arrival, refuses none, and AWS throttles no call', async () => {
    const enrolled = [];
    for (let index = 0; index < devices; index++) enrolled.push(await gateway.enrol(`quota-${index}`));
    await gateway.worker.close();
    const order: string[] = [];
    const waiting = [];
    for (const { serial, token } of enrolled) {
      const device = await connectDevice(gateway.broker);
      await device.client.subscribeAsync(`cvm/reply/${serial}`, { qos: 1 });
      await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
      waiting.push(
        device.next().then((reply) => {
          order.push(serial);
          return reply;
        }),
      );
    }
    const worker = gateway.startOneWorker();
    const replies = await Promise.all(waiting);
    expect(replies.map(({ status }) => status)).toEqual(Array(devices).fill('accepted'));
    const moved = order.map((serial, place) => Math.abs(Number(serial.replace('quota-', '')) - place));
    // two that were let through one after the other may overtake each other on their way through AWS
    expect(moved.reduce((sum, each) => sum + each, 0) / devices).toBeLessThanOrEqual(3);
    const throttled = Object.values(await stats()).reduce((sum, each) => sum + each.throttled, 0);
    expect(throttled).toBe(0);
    expect(await worker.metricsText()).toMatch(/cvm_aws_quota_wait_seconds_count\{waiter="device"\} 24/);
    await worker.close();
  });

  it('makes a throttled call of a request that was let through again, and neither refuses nor repeats the request', async () => {
    const worker = gateway.startOneWorker();
    const { serial, token } = await gateway.enrol('quota-taken');
    const rule = { operation: 'UpdateCertificate', kind: 'throttle', times: 1 };
    await fetch(`${gateway.aws.httpUrl}/_local/faults`, { method: 'PUT', body: JSON.stringify([rule]) });
    const before = await stats();
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    const after = await stats();
    expect(after.CreateCertificateFromCsr?.calls).toBe((before.CreateCertificateFromCsr?.calls ?? 0) + 1);
    expect(after.UpdateCertificate?.throttled).toBe((before.UpdateCertificate?.throttled ?? 0) + 1);
    expect(await worker.metricsText()).not.toMatch(/cvm_worker_requests_total\{outcome="throttled"\} [1-9]/);
    expect(gateway.logText()).toContain('AWS throttled a call, which is made again');
    await fetch(`${gateway.aws.httpUrl}/_local/faults`, { method: 'DELETE' });
    await worker.close();
  });

  it('stops at once while devices wait for their turn, and another worker serves them', async () => {
    const first = gateway.startOneWorker();
    const enrolled = [];
    for (let index = 0; index < 30; index++) enrolled.push(await gateway.enrol(`quota-stop-${index}`));
    const replies = enrolled.map(({ serial, token }) => askOnce(gateway.broker, serial, { token, key: 'ec' }));
    await replies[0];
    await first.close();
    const second = gateway.startOneWorker();
    expect((await Promise.all(replies)).map(({ status }) => status)).toEqual(Array(30).fill('accepted'));
    expect(gateway.logText()).not.toContain('closing without waiting any longer');
    await second.close();
  });
});

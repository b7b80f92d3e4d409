import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { makeDeviceKey } from '../../gateway-sim/device-key.ts';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, connectDevice, type TestDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const limits = { messagesPerDevice: 20, messagesPerDeviceSeconds: 600, acknowledgementsPerDevice: 300 };

describe.skipIf(lacks('redis-server'))('an attacker with the token of one device', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ limits });
  });
  afterAll(() => gateway?.close());

  /** Sends all of them in as few writes as possible. @returns the codes of the immediate answers */
  async function pipeline(device: TestDevice, topic: string, payloads: readonly object[]): Promise<string[]> {
    const sent = payloads.map((payload) => device.client.publishAsync(topic, JSON.stringify(payload), { qos: 1 }));
    await Promise.all(sent);
    await device.client.unsubscribeAsync('the immediate answers have come when this is answered');
    return device.heard.splice(0).map(({ reply }) => reply.errorCode ?? reply.status);
  }

  it('has at most eight requests waiting on one connection', async () => {
    const { serial, token } = await gateway.enrolOnRoster('asks-much');
    gateway.aws.faults.set([{ operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 3000, times: 1 }]);
    const keys = await Promise.all(Array.from({ length: 40 }, () => makeDeviceKey(serial)));
    const device = await connectDevice(gateway.broker);
    const codes = await pipeline(
      device,
      requestTopic(serial),
      keys.map(({ csrPem }) => ({ token, csr: csrPem })),
    );
    expect(codes.filter((code) => code === 'Throttled').length).toBeGreaterThanOrEqual(32);
    await device.client.endAsync(true);
  });

  it('cannot fill the queue with requests or acknowledgements on many connections, and other devices are served', async () => {
    const { serial, token } = await gateway.enrolOnRoster('floods');
    const before = await gateway.broker.metric('cvm_broker_messages_stored_total');
    const devices = await Promise.all(
      Array.from({ length: 10 }, () => connectDevice(gateway.broker, { username: serial, password: token })),
    );
    const ids = Array.from({ length: 300 }, (_, index) => index.toString(16).padStart(64, '0'));
    const codes = await Promise.all(
      devices.map((device, at) =>
        pipeline(
          device,
          ackTopic(serial),
          ids.slice(at * 30, at * 30 + 30).map((certificateId) => ({ certificateId })),
        ),
      ),
    );
    expect(codes.flat().filter((code) => code === 'Throttled')).toHaveLength(280);
    expect((await gateway.broker.metric('cvm_broker_messages_stored_total')) - before).toBe(20);
    const other = await gateway.enrol('another');
    expect(await askOnce(gateway.broker, other.serial, { token: other.token, key: 'ec' })).toMatchObject({
      status: 'accepted',
    });
    await Promise.all(devices.map(({ client }) => client.endAsync(true)));
  });
});

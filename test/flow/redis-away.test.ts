import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('without Redis', () => {
  let gateway: Gateway;
  beforeEach(async () => {
    gateway = await startGateway();
  });
  afterEach(() => gateway?.close());

  it('there is no PUBACK: the connection is closed, and the device may ask again', async () => {
    const { serial, token } = await gateway.enrol('no-puback');
    await gateway.redis.kill();
    const device = await connectDevice(gateway.broker);
    let acknowledged = false;
    const closed = new Promise<void>((resolve) => device.client.once('close', () => resolve()));
    device.client.publish(requestTopic(serial), JSON.stringify({ token }), { qos: 1 }, (error) => {
      acknowledged = !error;
    });
    await closed;
    expect(acknowledged).toBe(false);
  });

  it('no acknowledged request is lost: it is answered when Redis is back on its append-only file', async () => {
    const { serial, token } = await gateway.enrol('acknowledged');
    await gateway.worker.close();
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    await gateway.redis.kill();
    const { port, password } = new URL(gateway.redis.url);
    const again = await startEmbeddedRedis({
      dataDir: gateway.dataDir,
      log: createLog('silent'),
      port: Number(port),
      password,
    });
    const worker = gateway.startOneWorker();
    expect(await device.next()).toMatchObject({ status: 'accepted', thingName: serial });
    await device.client.endAsync(true);
    await worker.close();
    await gateway.close();
    await again.close();
  });
});

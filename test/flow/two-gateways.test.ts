import { ListThingPrincipalsCommand } from '@aws-sdk/client-iot';
import { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { gatewayIdIn } from '../../site-tls/gateway-key.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('two gateways of one table', () => {
  let here: Gateway;
  let there: Gateway;
  beforeAll(async () => {
    here = await startGateway();
    // the first is approved by itself
    await vi.waitUntil(async () => (await here.gateways.known()).length === 1, 45_000);
    there = await startGateway({ beside: here });
    await vi.waitUntil(async () => (await here.gateways.known()).length === 2, 45_000);
    await here.gateways.approve(gatewayIdIn(there.dataDir) ?? '');
  });
  afterAll(async () => {
    await there?.close();
    await here?.close();
  });
  const ask = ({ broker }: Gateway, serial: string, token: string, key: 'rsa' | 'ec') =>
    askOnce(broker, serial, { token, key });
  const principalsOf = async (thingName: string) =>
    (await here.iot.send(new ListThingPrincipalsCommand({ thingName }))).principals;

  it.each(['rsa', 'ec'] as const)(
    'give a device that asks both at once one certificate and one key: %s',
    async (key) => {
      for (let round = 0; round < 5; round++) {
        const { serial, token } = await here.enrol(`both-${key}-${round}`);
        const [one, other] = await Promise.all([ask(here, serial, token, key), ask(there, serial, token, key)]);
        expect(one).toMatchObject({ status: 'accepted' });
        expect(other).toMatchObject({ certificateId: one.certificateId, privateKey: one.privateKey });
        expect(await principalsOf(serial)).toHaveLength(1);
      }
    },
  );

  it('give it the same when it asks one after the other, in alternation, and after one has lost its Redis', async () => {
    const { serial, token } = await here.enrol('in-turn');
    const first = await ask(here, serial, token, 'rsa');
    for (const each of [there, here, there])
      expect(await ask(each, serial, token, 'rsa')).toMatchObject({ ...first, time: expect.anything() });
    const redis = new Redis(here.redis.url);
    await redis.flushall();
    await redis.quit();
    for (const each of [here, there])
      expect(await ask(each, serial, token, 'rsa')).toMatchObject({ certificateId: first.certificateId });
    expect(await principalsOf(serial)).toHaveLength(1);
  });

  it('take an acknowledgement at either: the token is then spent at both', async () => {
    const { serial, token } = await here.enrol('acknowledges-elsewhere');
    const { certificateId = '' } = await ask(here, serial, token, 'ec');
    const device = await connectDevice(there.broker, { username: serial, password: token });
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ key: 'ec' }), { qos: 1 });
    expect(await device.next()).toMatchObject({ certificateId });
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
    await device.client.endAsync(true);
    await expect
      .poll(() => ask(here, serial, token, 'ec'))
      .toMatchObject({ status: 'rejected', errorCode: 'AlreadyProvisioned' });
  });
});

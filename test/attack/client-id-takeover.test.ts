import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, publishOf, subscribeTo } from '../support/raw-mqtt.ts';

const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

const [connack, publish, puback, suback] = [2, 3, 4, 9];
/** CONNACK: no session present, accepted [MQTT-3.2.2]. */
const sessionIsNew = Buffer.from([0, 0]);

describe.skipIf(lacks('redis-server'))("a CONNECT with a victim's client id", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('leaves the victim connected: both connections live side by side', async () => {
    const victim = await connectDevice(gateway.broker, { clientId: 'same' });
    const others = await Promise.all(
      Array.from({ length: 20 }, () => connectDevice(gateway.broker, { clientId: 'same' })),
    );
    await settle();
    expect([victim, ...others].filter(({ client }) => !client.connected)).toEqual([]);
    for (const { client } of [victim, ...others]) await client.endAsync(true);
  });

  it('takes over no session: after a reconnection there is no session and no stored reply', async () => {
    const { serial, token } = await gateway.enrol('persistent');
    const again = async () => {
      const connection = await connectRaw(gateway.broker);
      connection.send(connectWith('persistent', { flags: 0 }));
      expect((await connection.next(connack)).body).toEqual(sessionIsNew);
      return connection;
    };
    const first = await again();
    first.send(subscribeTo(replyTopic(serial)));
    await first.next(suback);
    const answer = { operation: 'CreateCertificateFromCsr', kind: 'latency', ms: 500 };
    gateway.aws.faults.set([answer]);
    first.send(publishOf(requestTopic(serial), JSON.stringify({ token, key: 'ec' })));
    await first.next(puback);
    first.socket.destroy();
    await first.closed;
    expect(first.heard.filter(({ type }) => type === publish)).toEqual([]);
    // once before the answer, once after it
    const connections = [await again()];
    await expect.poll(async () => (await gateway.registry.find(serial))?.state).toBe('registered');
    connections.push(await again());
    await settle();
    expect(connections.flatMap(({ heard }) => heard).filter(({ type }) => type !== connack)).toEqual([]);
    for (const { socket } of connections) socket.destroy();
    gateway.aws.faults.set([]);
  });

  it('receives no reply that the earlier device had not acknowledged by PUBACK', async () => {
    const { serial, token } = await gateway.enrol('unacknowledged');
    const device = await connectRaw(gateway.broker);
    device.send(connectWith('unacknowledged', { flags: 0 }), subscribeTo(replyTopic(serial)));
    device.send(publishOf(requestTopic(serial), JSON.stringify({ token, key: 'ec' })));
    await device.next(publish);
    device.socket.destroy();
    await device.closed;
    const thief = await connectRaw(gateway.broker);
    thief.send(connectWith('unacknowledged', { flags: 0 }));
    await thief.next(connack);
    await settle();
    expect(thief.heard.map(({ type, body }) => [type, body])).toEqual([[connack, sessionIsNew]]);
    thief.socket.destroy();
  });
});

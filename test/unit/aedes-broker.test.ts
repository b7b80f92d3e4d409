import { duplexPair } from 'node:stream';
import type { Aedes, Client } from 'aedes';
import { afterEach, describe, expect, it } from 'vitest';
import { startMqttBroker } from '../../broker/mqtt/aedes-broker.ts';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { hashToken } from '../../protocol/token.ts';
import { recipientIdOf, requestKeyOf } from '../../queue/provisioning-request.ts';
import { deriveReplyKeys, sealer } from '../../sealing/replies.ts';
import { asConnection, hooksOf, later, token } from '../support/hooks.ts';
import { connectWith, packetReader, publishOf, type RawPacket, subscribeTo } from '../support/raw-mqtt.ts';

/** What aedes keeps; its types do not say so. */
type Inside = {
  readonly clients: Readonly<Record<string, Client>>;
};

const undo: (() => unknown)[] = [];
afterEach(async () => {
  for (const each of undo.splice(0)) await each();
});

describe('inside the MQTT broker', () => {
  /** The MQTT broker as devices meet it, without TLS. Each connection comes with the aedes behind it. */
  async function start() {
    const { options, announce, close } = hooksOf();
    const mqtt = await startMqttBroker(options);
    undo.push(mqtt.close, close);
    const connect = async (clientId: string, flags: number) => {
      const [near, far] = duplexPair();
      const heard: RawPacket[] = [];
      near.on(
        'data',
        packetReader((each) => heard.push(each)),
      );
      mqtt.handle(asConnection(far));
      near.write(connectWith(clientId, { flags }));
      const count = (type: number) => heard.filter((each) => each.type === type).length;
      await expect.poll(() => count(2)).toBe(1);
      const { broker: aedes } = (far as unknown as { client: { broker: Aedes & Inside } }).client;
      return {
        aedes,
        heard,
        leave: () => far.destroy(),
        async exchange(packet: Buffer, answer: number) {
          const before = count(answer);
          near.write(packet);
          await expect.poll(() => count(answer)).toBe(before + 1);
        },
      };
    };
    return { announce, connect };
  }
  const [connack, publish, puback, suback] = [2, 3, 4, 9];
  const keys = deriveReplyKeys('SN', token);

  it('neither subscription nor reply is kept for a connection that wants its session kept', async () => {
    const { announce, connect } = await start();
    const { aedes, ...device } = await connect('its own', 0);
    expect(device.heard.find(({ type }) => type === connack)?.body).toEqual(Buffer.from([0, 0]));
    await device.exchange(subscribeTo(replyTopic('SN')), suback);
    await device.exchange(publishOf(requestTopic('SN'), JSON.stringify({ token })), puback);
    const recipientId = recipientIdOf('SN', hashToken(token));
    const answer = {
      status: 'accepted' as const,
      credentials: { certificateId: 'c', certificatePem: 'c', thingName: 'SN', endpoint: 'e', rootCaPem: 'r' },
    };
    const requestKey = requestKeyOf({ serial: 'SN', tokenHash: hashToken(token), key: 'rsa' });
    const sealed = sealer.answer(keys.publicKey, recipientId, answer);
    announce({ requestId: 'request-1', requestKey, recipientId, sealed });
    // it takes the reply, and does not say so
    await expect.poll(() => device.heard.filter(({ type }) => type === publish)).toHaveLength(1);
    const ids = Object.keys(aedes.clients);
    expect(ids).toHaveLength(1);
    device.leave();
    await expect.poll(() => aedes.connectedClients).toBe(0);
    const again = await connect('its own', 0);
    await later(100);
    expect(again.heard.map(({ type, body }) => [type, ...body])).toEqual([[connack, 0, 0]]);
  });

  it('a message that is not being sent to this very connection does not leave, however it is published', async () => {
    const { connect } = await start();
    const { aedes, ...device } = await connect('its own', 2);
    await device.exchange(subscribeTo(replyTopic('SN')), suback);
    const foreign = {
      cmd: 'publish',
      topic: replyTopic('SN'),
      payload: Buffer.from('x'),
      qos: 1,
      retain: false,
      dup: false,
    } as const;
    for (const qos of [0, 1] as const)
      await new Promise<void>((resolve, reject) =>
        aedes.publish({ ...foreign, qos }, (error) => (error ? reject(error) : resolve())),
      );
    for (const client of Object.values(aedes.clients)) client.publish(foreign, () => {});
    await later(100);
    expect(device.heard.filter(({ type }) => type === publish)).toEqual([]);
  });

  it('nothing is retained, and what is published reaches no listener inside', async () => {
    const { connect } = await start();
    const { aedes, ...device } = await connect('its own', 2);
    const heard: string[] = [];
    aedes.subscribe(
      '#',
      ({ topic }, done) => {
        heard.push(topic);
        done();
      },
      () => {},
    );
    await device.exchange(publishOf(requestTopic('SN'), JSON.stringify({ token }), { retain: true }), puback);
    const kept = { cmd: 'publish', topic: replyTopic('SN'), payload: Buffer.from('x'), qos: 1, dup: false } as const;
    await new Promise<void>((resolve, reject) =>
      aedes.publish({ ...kept, retain: true }, (error) => (error ? reject(error) : resolve())),
    );
    await device.exchange(subscribeTo(replyTopic('SN')), suback);
    await later(100);
    // one message: the refusal of its own, which says that nothing is retained
    expect(device.heard.filter(({ type, body }) => type === publish && body.at(-1) === 0x78)).toEqual([]);
    expect(heard).toEqual([]);
  });
});

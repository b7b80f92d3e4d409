import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import { timeReplyTopic, timeTopic } from '../../protocol/time.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, publishOf, type RawPacket } from '../support/raw-mqtt.ts';
import { isTimeOf, newNonce, pinnedTimeKey, type TimeAnswer } from '../support/time.ts';

describe.skipIf(lacks('redis-server'))('questions for the time, by strangers', () => {
  let gateway: Gateway;
  let pinned: string;
  beforeAll(async () => {
    gateway = await startGateway();
    pinned = pinnedTimeKey(gateway.dataDir);
  });
  afterAll(() => gateway?.close());

  async function ask(nonce: string): Promise<TimeAnswer> {
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(timeTopic(nonce), '', { qos: 1 });
    const answer = (await device.next()) as unknown as TimeAnswer;
    await device.client.endAsync(true);
    return answer;
  }

  it('are answered to the asking connection alone: another that subscribed to the same topic hears nothing', async () => {
    const ears = await connectDevice(gateway.broker);
    await ears.client.subscribeAsync(timeReplyTopic, { qos: 1 });
    expect((await ask(newNonce())).status).toBe('accepted');
    // whatever was on its way is here by now: the own answer comes after it
    await ears.client.publishAsync(timeTopic(newNonce()), '', { qos: 1 });
    expect(await ears.next()).toMatchObject({ status: 'accepted' });
    expect(ears.heard).toEqual([]);
    await ears.client.endAsync(true);
  });

  it('gain no answer that a device with another nonce would take, nor with the time changed', async () => {
    const [asked, other] = [newNonce(), newNonce()];
    const { time, sig } = await ask(asked);
    const taken = (nonce: string, seconds: number) => isTimeOf(nonce, seconds, Buffer.from(sig, 'base64'), pinned);
    expect([taken(asked, time), taken(other, time), taken(asked, time + 1)]).toEqual([true, false, false]);
  });

  it.each(['cvm/time/+', 'cvm/time/#', 'cvm/time/+/reply', `cvm/time/${'a'.repeat(32)}`])(
    'subscribe to nothing but the one topic of the answer, so that filters do not fill the memory: %s',
    async (filter) => {
      const device = await connectDevice(gateway.broker);
      await expect(device.client.subscribeAsync(filter, { qos: 1 })).rejects.toThrow();
      await device.client.endAsync(true);
    },
  );

  it('cannot be answered by another device: a message to the topic of the answer is a question with a bad nonce', async () => {
    const ears = await connectDevice(gateway.broker);
    await ears.client.subscribeAsync(timeReplyTopic, { qos: 1 });
    const forger = await connectDevice(gateway.broker);
    await forger.client.publishAsync(timeReplyTopic, '{"status":"accepted","time":1}', { qos: 1 });
    expect(await forger.next()).toMatchObject({ errorCode: 'InvalidRequest' });
    expect(ears.heard).toEqual([]);
    for (const { client } of [ears, forger]) await client.endAsync(true);
  });

  it('by the hundred on one connection get a handful of signatures, and devices beside them their certificates', async () => {
    const attackers = await Promise.all(Array.from({ length: 10 }, () => connectRaw(gateway.broker)));
    const questions = Array.from({ length: 300 }, () => publishOf(timeTopic(newNonce()), ''));
    const began = performance.now();
    for (const each of attackers) each.send(connectWith('floods'), ...questions);
    const { serial, token } = await gateway.enrol('beside-the-questions');
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    const { burst, perSecond } = defaultLimits.timeQuestions;
    const isSigned = ({ type, body }: RawPacket) => type === 3 && body.includes('"sig"');
    const isThrottled = ({ type, body }: RawPacket) => type === 3 && body.includes('"Throttled"');
    for (const { heard, socket } of attackers) {
      await expect.poll(() => heard.filter(isThrottled).length).toBeGreaterThan(0);
      // a slow machine lets some seconds pass, in which some more are allowed
      const passed = (performance.now() - began) / 1000;
      const allowed = burst + Math.ceil(passed * perSecond) + 1;
      expect(heard.filter(isSigned).length).toBeLessThanOrEqual(allowed);
      socket.destroy();
    }
  });

  it('leave nothing of the nonce in the log: a confused device may have put its token there', async () => {
    const [good, bad] = ['my-secret-token-1234', `my-secret-token-5678-${'x'.repeat(64)}`];
    await ask(good);
    await ask(bad);
    expect(gateway.logText()).toContain('a nonce has 11 to 64');
    expect(gateway.logText()).not.toContain('my-secret-token');
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(lacks('redis-server'))("a subscriber of another device's reply topic", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('hears nothing without its token: before, during and after the request', async () => {
    const { serial, token } = await gateway.enrolOnRoster('victim');
    const eavesdrop = async (options: { username?: string; password?: string } = {}) => {
      const eavesdropper = await connectDevice(gateway.broker, options);
      await eavesdropper.client.subscribeAsync(replyTopic(serial), { qos: 1 });
      return eavesdropper;
    };
    const guess = { username: serial, password: 'a-wrong-guess-of-the-token-000' };
    const ears = [await eavesdrop(), await eavesdrop(guess)];
    const device = await connectDevice(gateway.broker);
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    ears.push(await eavesdrop(), await eavesdrop(guess));
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    ears.push(await eavesdrop(), await eavesdrop(guess));
    // a second answer, while all of them are subscribed
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    await settle();
    expect(ears.flatMap(({ heard }) => heard)).toEqual([]);
    for (const { client } of [...ears, device]) await client.endAsync(true);
  });

  it('hears only its own rejection after a request with a wrong token', async () => {
    const { serial, token } = await gateway.enrolOnRoster('victim-2');
    const guesser = await connectDevice(gateway.broker);
    await guesser.client.subscribeAsync(replyTopic(serial), { qos: 1 });
    const device = await connectDevice(gateway.broker);
    const wrong = JSON.stringify({ token: 'a-wrong-guess-of-the-token-000' });
    await guesser.client.publishAsync(requestTopic(serial), wrong, { qos: 1 });
    await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'accepted' });
    expect(await guesser.next()).toMatchObject({ errorCode: 'InvalidToken' });
    await settle();
    expect([guesser.heard, device.heard]).toEqual([[], []]);
    for (const { client } of [guesser, device]) await client.endAsync(true);
  });

  it('hears nothing at another broker either, where a connection with the token hears the reply', async () => {
    const { serial, token } = await gateway.enrolOnRoster('victim-3');
    const other = await gateway.startOneBroker();
    const listen = async (options: { username?: string; password?: string } = {}) => {
      const listener = await connectDevice(other, options);
      await listener.client.subscribeAsync(replyTopic(serial), { qos: 1 });
      return listener;
    };
    const ears = [await listen(), await listen({ username: serial, password: 'a-wrong-guess-of-the-token-000' })];
    const proven = await listen({ username: serial, password: token });
    const device = await connectDevice(gateway.broker);
    for (const id of ['first', 'again']) {
      await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec', id }), { qos: 1 });
      expect(await device.next()).toMatchObject({ status: 'accepted', id });
      expect(await proven.next()).toMatchObject({ status: 'accepted' });
      await gateway.queueIsEmpty();
    }
    // its own request at its broker brings its own answer, not the victim's
    const [, guesser] = ears;
    await guesser?.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    expect(await guesser?.next()).toMatchObject({ errorCode: 'InvalidToken' });
    await settle();
    expect(ears.flatMap(({ heard }) => heard)).toEqual([]);
    for (const { client } of [...ears, proven, device]) await client.endAsync(true);
  });
});

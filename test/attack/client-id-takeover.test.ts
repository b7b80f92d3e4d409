import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic } from '../../protocol/topics.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const settle = (ms = 300) => new Promise((resolve) => setTimeout(resolve, ms));

describe.skipIf(lacks('redis-server'))("a CONNECT with a victim's client id", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it('disturbs nobody: both live side by side', async () => {
    const victim = await connectDevice(gateway.broker, { clientId: 'same' });
    const others = await Promise.all(
      Array.from({ length: 20 }, () => connectDevice(gateway.broker, { clientId: 'same' })),
    );
    await settle();
    expect([victim, ...others].filter(({ client }) => !client.connected)).toEqual([]);
    for (const { client } of [victim, ...others]) await client.endAsync(true);
  });

  it('takes over no session: nothing waits for who comes back', async () => {
    const { port, caPem: ca } = gateway.broker;
    const options = { host: 'localhost', port, ca, clientId: 'persistent', clean: false };
    const first = await connectOnce(options);
    await first.subscribeAsync(replyTopic('persistent'), { qos: 1 });
    await first.endAsync();
    const second = await connectOnce(options);
    expect((second as unknown as { _resubscribeTopics: object })._resubscribeTopics).toEqual({});
    await second.endAsync();
  });
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { timeReplyTopic, timeTopic } from '../../protocol/time.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, packet, text } from '../support/raw-mqtt.ts';

const [puback, ofId] = [4, 1];
const quotaExceeded = 0x97;

/** Properties of a PUBLISH [MQTT 5, 3.3.2.3]. */
const responseTopic = (topic: string) => Buffer.concat([Buffer.from([8]), text(topic)]);
const correlationData = (bytes: number) => Buffer.concat([Buffer.from([9]), text('c'.repeat(bytes))]);

function lengthOf({ length }: Buffer): Buffer {
  return length < 128 ? Buffer.from([length]) : Buffer.from([(length % 128) | 128, length >> 7]);
}

describe.skipIf(lacks('redis-server'))('a stranger who makes the gateway keep what its answers are to carry', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'warn' });
    // nothing is answered: what is kept stays
    await gateway.worker.close();
  });
  afterAll(() => gateway?.close());

  /** @returns the reason code of PUBACK; undefined for none, which is success */
  async function publish(topic: string, properties: Buffer): Promise<number | undefined> {
    const { next, send, socket } = await connectRaw(gateway.broker);
    send(packet(0x10, text('MQTT'), Buffer.from([5, 2, 0, 60, 0]), text('a')));
    await next(2);
    const payload = JSON.stringify({ token: 'a-wrong-guess-of-the-token-000', key: 'ec' });
    const parts = [text(topic), Buffer.from([0, ofId]), lengthOf(properties), properties, Buffer.from(payload)];
    send(packet(0x32, ...parts));
    const { body } = await next(puback);
    socket.destroy();
    return body[2];
  }

  it.each([
    ['Correlation Data of more than 1024 bytes', correlationData(1024), correlationData(1025)],
    [
      'a Response Topic of more than 256 bytes',
      responseTopic(`${replyTopic('S-1')}/`.padEnd(256, 'x')),
      responseTopic(`${replyTopic('S-1')}/`.padEnd(257, 'x')),
    ],
  ])('cannot with %s: PUBACK says that it is too long', async (_what, fits, tooLong) => {
    expect(await publish(requestTopic('S-1'), fits)).toBeUndefined();
    expect(await publish(requestTopic('S-1'), tooLong)).toBe(quotaExceeded);
  });

  it('nor in characters of two bytes', async () => {
    const topic = `${replyTopic('S-1')}/`.padEnd(200, 'é');
    expect(await publish(requestTopic('S-1'), responseTopic(topic))).toBe(quotaExceeded);
  });

  it('nor with a question for the time', async () => {
    const ask = (bytes: number) =>
      publish(timeTopic('0'.repeat(22)), Buffer.concat([responseTopic(timeReplyTopic), correlationData(bytes)]));
    expect([await ask(1024), await ask(1025)]).toEqual([undefined, quotaExceeded]);
  });
});

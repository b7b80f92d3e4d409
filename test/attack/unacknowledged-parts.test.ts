import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, publishOf, text } from '../support/raw-mqtt.ts';
import { readPublish } from '../support/small-link.ts';
import { readSmall } from '../support/small-packets.ts';

const publish = 3;

describe.skipIf(lacks('redis-server'))('a device that asks for replies in parts and acknowledges none', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'warn' });
  });
  afterAll(() => gateway?.close());

  it('has eight of them under way on its connection, and is told that it has too many', async () => {
    const { serial, token } = await gateway.enrolOnRoster('unacknowledged');
    const { send, heard, next, socket } = await connectRaw(gateway.broker);
    send(connectWith('a', { flags: 0xc2, payload: [text(serial), text(token)] }));
    await next(2);
    const written = () => gateway.broker.metric('cvm_broker_replies_total', { status: 'accepted' });
    const ask = (id: number) =>
      send(
        publishOf(requestTopic(serial), JSON.stringify({ id: `${id}`, key: 'ec', maxPacket: 128, pending: false }), {
          id,
        }),
      );
    const told = () => heard.filter(({ type }) => type === publish).map((each) => readSmall(readPublish(each).payload));
    for (let id = 1; id <= 8; id++) {
      ask(id);
      await expect.poll(written).toBe(id);
    }
    expect(told()).toMatchObject([{ type: 'head' }]);
    ask(9);
    await expect.poll(() => told().length).toBe(2);
    expect(told()[1]).toMatchObject({ type: 'rejected', errorCode: 'Throttled' });
    expect(await written()).toBe(8);
    socket.destroy();
  });
});

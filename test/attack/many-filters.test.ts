import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic } from '../../protocol/cvm/topics.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, type RawPacket, text } from '../support/raw-mqtt.ts';

const [suback, unsuback] = [9, 11];
const below = (index: number) => `${replyTopic('S-1')}/${index}`;
const range = (count: number) => Array.from({ length: count }, (_, index) => index);

/** What differs between the versions: properties, and the code of a refusal. */
const versions = [
  { name: 'MQTT 3.1.1', level: 4, none: [], refused: 0x80 },
  { name: 'MQTT 5', level: 5, none: [Buffer.alloc(1)], refused: 0x87 },
] as const;

describe.skipIf(lacks('redis-server'))('a stranger who subscribes as often as it can', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ logLevel: 'warn' });
  });
  afterAll(() => gateway?.close());

  async function connectAs({ level, none }: (typeof versions)[number]) {
    const raw = await connectRaw(gateway.broker);
    const connect =
      level === 4 ? connectWith('a') : packet(0x10, text('MQTT'), Buffer.from([5, 2, 0, 60, 0]), text('a'));
    raw.send(connect);
    await raw.next(2);
    const send = (header: number, filters: readonly string[], end: readonly Buffer[], id: number) =>
      raw.send(packet(header, Buffer.from([0, id]), ...none, ...filters.flatMap((each) => [text(each), ...end])));
    // in MQTT 5 behind the properties: a Reason String
    const codesOf = ({ body }: RawPacket) => [...body.subarray(level === 4 ? 2 : 3 + (body[2] ?? 0))];
    /** @returns the codes of SUBACK */
    async function subscribe(filters: readonly string[], id: number): Promise<number[]> {
      send(0x82, filters, [Buffer.from([1])], id);
      const answer = () => raw.heard.find(({ type, body }) => type === suback && body[1] === id);
      await expect.poll(answer).toBeDefined();
      return codesOf(answer() as RawPacket);
    }
    return { ...raw, subscribe, unsubscribe: (filters: readonly string[], id: number) => send(0xa2, filters, [], id) };
  }

  it.each(versions)('has 50 filters at a time, in $name, and another one when it gives one back', async (version) => {
    const { subscribe, unsubscribe, next, socket } = await connectAs(version);
    const granted = async (filters: readonly string[], id: number) =>
      (await subscribe(filters, id)).filter((code) => code < 0x80).length;
    expect(await granted(range(30).map(below), 1)).toBe(30);
    expect(
      await granted(
        range(50).map((index) => below(100 + index)),
        2,
      ),
    ).toBe(20);
    // one that it has already is none more
    expect(await subscribe([below(3), 'cvm/time/reply', replyTopic('S-1'), below(999)], 3)).toEqual([
      1,
      ...Array(3).fill(version.refused),
    ]);
    unsubscribe([below(3)], 4);
    await next(unsuback);
    expect(await subscribe([below(999), below(3)], 5)).toEqual([1, version.refused]);
    socket.destroy();
  });

  it('gets no copy of a certificate by a filter that was refused', async () => {
    const { serial, token } = await gateway.enrolOnRoster('S-2');
    const watching = await connectDevice(gateway.broker, { username: serial, password: token });
    const others = range(50).map((index) => `${replyTopic(serial)}/${index}`);
    await watching.client.subscribeAsync(others, { qos: 1 });
    const subscribe = () =>
      new Promise<number | undefined>((resolve) =>
        watching.client.subscribe(replyTopic(serial), { qos: 1 }, (_err, _granted, packet) =>
          resolve(Number(packet?.granted?.[0])),
        ),
      );
    expect(await subscribe()).toBe(0x80);
    const ask = () => askOnce(gateway.broker, serial, { token, key: 'ec' });
    expect(await ask()).toMatchObject({ status: 'accepted' });
    await watching.client.unsubscribeAsync(others[0] ?? '');
    expect(watching.heard).toEqual([]);
    expect(await subscribe()).toBe(1);
    const { certificateId } = await ask();
    expect(await watching.next()).toMatchObject({ certificateId });
    await watching.client.endAsync(true);
  });

  it.each(versions)('has none of more than 256 bytes, in $name', async (version) => {
    const { subscribe, socket } = await connectAs(version);
    const ofBytes = (bytes: number) => `${replyTopic('S-1')}/`.padEnd(bytes, 'x');
    const template = `$aws/provisioning-templates/${'t'.repeat(300)}/provision/json/accepted`;
    const inTwoBytes = `${replyTopic('S-1')}/`.padEnd(200, 'é');
    expect(await subscribe([ofBytes(256), ofBytes(257), inTwoBytes, template], 1)).toEqual([
      1,
      ...Array(3).fill(version.refused),
    ]);
    socket.destroy();
  });

  it.each(versions)(
    'is cut off with more than 50 filters in one packet, in $name: each costs time',
    async (version) => {
      const answers = { subscribe: suback, unsubscribe: unsuback } as const;
      for (const send of ['subscribe', 'unsubscribe'] as const) {
        const connection = await connectAs(version);
        void Promise.resolve(connection[send](range(51).map(String), 1)).catch(() => {});
        // an answer, too, ends the wait: a broker that judges them all is seen at once, and not by a time limit of the test
        await Promise.race([connection.closed, connection.next(answers[send]).catch(() => {})]);
        const ends = connection.heard.filter(({ type }) => type !== 2);
        expect(ends.map(({ type, body }) => [type, body[0]])).toEqual(version.level === 4 ? [] : [[14, 0x97]]);
      }
    },
  );
});

import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, type RawPacket, subscribeTo, text } from '../support/raw-mqtt.ts';

const hex = (digits: string) => Buffer.from(digits.replaceAll(' ', ''), 'hex');
const bytesOf = ({ type, flags, body }: RawPacket) => packet((type << 4) | flags, body).toString('hex');
const id = (value: number) => Buffer.from([value >> 8, value & 0xff]);
const ping = hex('c000');
const unsubscribe = (filter: string, messageId = 7) => packet(0xa2, id(messageId), text(filter));
/** Message id and payload of a PUBLISH with QoS 1. */
function publication({ body }: RawPacket) {
  const at = 2 + body.readUInt16BE();
  return { messageId: body.readUInt16BE(at), reply: JSON.parse(body.subarray(at + 2).toString()) };
}

describe.skipIf(lacks('redis-server'))('MQTT 3.1.1, packet by packet', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  /** Sends bytes in one segment. @returns all that came until the connection was closed, in hex */
  async function sayAndHear(...bytes: Buffer[]): Promise<string[]> {
    const device = await connectRaw(gateway.broker);
    device.send(...bytes);
    await device.closed;
    return device.heard.map(bytesOf);
  }

  it.each([
    ['level 6', hex('100f 0004 4d515454 06 02 003c 0003 707172')],
    ['level 0', hex('100f 0004 4d515454 00 02 003c 0003 707172')],
    ['level 2', hex('100f 0004 4d515454 02 02 003c 0003 707172')],
    ['MQTT at level 3', hex('100f 0004 4d515454 03 02 003c 0003 707172')],
    ['MQIsdp at level 4', hex('1011 0006 4d5149736470 04 02 003c 0003 707172')],
  ])('[MQTT-3.1.2-2] a CONNECT of another version (%s) gets CONNACK 1 and is closed', async (_what, bytes) => {
    expect(await sayAndHear(bytes)).toEqual(['20020001']);
  });

  it.each([
    ['3.1.1', hex('100c 0004 4d515454 04 00 003c 0000')],
    ['3.1', hex('100e 0006 4d5149736470 03 02 003c 0000')],
  ])('[MQTT-3.1.3-8] an empty client id without a clean session gets CONNACK 2: %s', async (_version, bytes) => {
    expect(await sayAndHear(bytes)).toEqual(['20020002']);
  });

  it('[MQTT-3.1.4-2] a will gets CONNACK 5', async () => {
    const will = [text('elsewhere'), text('gone')];
    expect(await sayAndHear(connectWith('w', { flags: 0x06, payload: will }))).toEqual(['20020005']);
  });

  it.each(['ab/+e', 'ab/e+', 'a#', 'a/#/b', '#/a'])(
    '[MQTT-4.7.1-2, 4.7.1-3, 4.8.0-1] a wildcard that does not fill its level, or does not end the filter, closes: %s',
    async (filter) => {
      expect(await sayAndHear(connectWith('s'), subscribeTo(filter))).toEqual(['20020000']);
      expect(await sayAndHear(connectWith('u'), unsubscribe(filter))).toEqual(['20020000']);
    },
  );

  it('[MQTT-3.10.4-2] after UNSUBSCRIBE, a connection gets no copy of what another one of the device asked for', async () => {
    const { serial, token } = await gateway.enrol('unsubscribes');
    const connect = connectWith('c', { flags: 0xc2, payload: [text(serial), text(token)] });
    const ears = [await connectRaw(gateway.broker), await connectRaw(gateway.broker)] as const;
    for (const ear of ears) ear.send(connect, subscribeTo(replyTopic(serial)));
    ears[0].send(unsubscribe(replyTopic(serial)));
    await ears[0].next(11);
    await ears[1].next(9);
    const device = await connectRaw(gateway.broker);
    device.send(connect, publishOf(requestTopic(serial), '{"key":"ec"}'));
    await device.next(3);
    await ears[1].next(3);
    expect(ears[0].heard.map(({ type }) => type)).toEqual([2, 9, 11]);
    for (const { socket } of [...ears, device]) socket.destroy();
  });

  it.each([
    ['PUBREC', 0x50],
    ['PUBCOMP', 0x70],
  ])('[MQTT-4.3.2-1, 4.8.0-1] %s for a reply, which has QoS 1, closes', async (_what, header) => {
    const device = await connectRaw(gateway.broker);
    device.send(connectWith('r'), publishOf(requestTopic('unknown'), '{"token":"a-token-of-no-device-at-all"}'));
    const { messageId } = publication(await device.next(3));
    device.send(packet(header, id(messageId)), ping);
    await device.closed;
    expect(device.heard.map(({ type }) => type).sort()).toEqual([2, 3, 4]);
  });

  it('packets before a bad one in the same segment are served, then the connection is closed', async () => {
    const { serial, token } = await gateway.enrol('one-segment');
    const good = [
      connectWith('g', { flags: 0xc2, payload: [text(serial), text(token)] }),
      ping,
      subscribeTo(replyTopic(serial), 5),
      publishOf(requestTopic(serial), '{"key":"ec"}', { id: 6 }),
    ];
    const heard = await sayAndHear(...good, hex('f000'));
    expect(heard.slice(0, 4).sort()).toEqual(['20020000', '40020006', '9003000501', 'd000']);
    // the PUBACK is a promise: the request is served, although nobody waits
    await expect.poll(() => gateway.registry.find(serial)).toMatchObject({ state: 'registered' });
  });

  it('CONNECT and 40 PINGREQ in one segment are served', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(connectWith('p'), ...Array.from({ length: 40 }, () => ping));
    await expect.poll(() => device.heard.length).toBe(41);
    device.socket.destroy();
  });

  it('[MQTT-3.14.4-2] what comes after DISCONNECT is not served', async () => {
    expect(await sayAndHear(connectWith('d'), ping, hex('e000'), ping)).not.toContain('4002');
  });

  it('a request with QoS 2 is rejected with the cure, and closed', async () => {
    const device = await connectRaw(gateway.broker);
    const body = [text(requestTopic('qos-2')), id(3), Buffer.from('{"id":"q"}')];
    device.send(connectWith('q'), packet(0x34, ...body));
    await device.closed;
    expect(device.heard.map(({ type }) => type)).toEqual([2, 3]);
    expect(publication(device.heard[1] as RawPacket).reply).toMatchObject({
      status: 'rejected',
      id: 'q',
      errorCode: 'InvalidRequest',
      errorMessage: expect.stringContaining('QoS 1'),
    });
  });

  it('a rejection comes after the PUBACK of its request', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(connectWith('o'), publishOf(requestTopic('order'), 'no JSON'));
    await device.next(3);
    expect(device.heard.map(({ type }) => type)).toEqual([2, 4, 3]);
    device.socket.destroy();
  });
});

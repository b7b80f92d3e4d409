import { connect, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ackTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const text = (bytes: Buffer) => Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]);
const packet = (header: number, ...parts: Buffer[]) => {
  const body = Buffer.concat(parts);
  return Buffer.concat([Buffer.from([header, body.length]), body]);
};
const connectAs = (id: Buffer, username?: Buffer) =>
  packet(
    0x10,
    text(Buffer.from('MQTT')),
    Buffer.from([4, username === undefined ? 2 : 0xc2, 0, 60]),
    text(id),
    ...(username === undefined ? [] : [text(username), text(Buffer.from('a-password-of-some-length'))]),
  );
const publishTo = (topic: Buffer) => packet(0x32, text(topic), Buffer.from([0, 1]), Buffer.from('{}'));

const strange: [string, Buffer][] = [
  ['overlong UTF-8', Buffer.from([0x61, 0xc0, 0xaf])],
  ['a lone surrogate', Buffer.from([0xed, 0xa0, 0x80])],
  ['bytes that are no UTF-8', Buffer.from([0xff, 0xfe])],
  ['NUL', Buffer.from('a\u0000b')],
  ['control characters', Buffer.from('a\u0007\u001b[2Jb')],
  ['a line break', Buffer.from('a\r\nforged')],
];

describe.skipIf(lacks('redis-server'))('strange names', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  /** Sends these packets. `closed` resolves when the broker has closed the connection. */
  async function send(...packets: Buffer[]): Promise<{ socket: TLSSocket; closed: Promise<void> }> {
    const socket: TLSSocket = connect({
      host: '127.0.0.1',
      port: gateway.broker.port,
      servername: 'localhost',
      ca: gateway.broker.caPem,
    });
    socket.on('error', () => {}).resume();
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await new Promise((resolve) => socket.once('secureConnect', resolve));
    for (const one of packets) socket.write(one);
    return { socket, closed };
  }

  it.each(strange)('with %s close the connection, as client id, as user name and in a topic', async (_what, bytes) => {
    const good = connectAs(Buffer.from('id'));
    const { socket } = await send(good);
    const bad = [
      [connectAs(bytes)],
      [connectAs(Buffer.from('id'), bytes)],
      [good, publishTo(Buffer.concat([Buffer.from('cvm/request/'), bytes]))],
    ];
    for (const packets of bad) await (await send(...packets)).closed;
    expect(socket.closed).toBe(false);
    socket.destroy();
    expect(gateway.logText()).not.toContain('\u001b[2J');
    expect(gateway.logText()).not.toMatch(/^forged/m);
  });

  it.each(['a b', 'ä', 'x'.repeat(129), '${iot:x}', '*', "a'b", '"', '__proto__ ', 'a.b'])(
    'that are valid MQTT but not serials are refused with the rule: %j',
    async (serial) => {
      const device = await connectDevice(gateway.broker);
      await device.client.publishAsync(requestTopic(serial), '{"token":"x"}', { qos: 1 });
      expect(await device.next()).toMatchObject({ status: 'rejected', errorCode: 'InvalidRequest' });
      await device.client.endAsync(true);
    },
  );

  it.each(['__proto__', 'constructor', 'toString'])(
    'that are also properties of every object are accepted as serials: %s',
    async (serial) => {
      const { token } = await gateway.enrol(serial);
      const device = await connectDevice(gateway.broker);
      await device.client.publishAsync(requestTopic(serial), JSON.stringify({ token, key: 'ec' }), { qos: 1 });
      const { status, certificateId } = await device.next();
      expect(status).toBe('accepted');
      await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId }), { qos: 1 });
      await device.client.endAsync(true);
    },
  );
});

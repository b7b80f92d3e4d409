import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
const connectPacket = hex('100e 0004 4d515454 04 02 003c 0002 6964');

describe.skipIf(lacks('redis-server'))('a malformed packet', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it.each([
    ['a client id that is not UTF-8, and would become another', hex('100e 0004 4d515454 04 02 003c 0002 c0af')],
    ['a client id with NUL', hex('100e 0004 4d515454 04 02 003c 0002 6900')],
    ['a topic with a line end, for the log', Buffer.concat([connectPacket, hex('3006 0003 610a62 78')])],
    ['message id 0', Buffer.concat([connectPacket, hex('3205 0001 74 0000')])],
    [
      'a message id that reaches into the next packet',
      Buffer.concat([connectPacket, hex('3204 0001 74 00'), hex('c000')]),
    ],
    ['a PUBACK without a message id', Buffer.concat([connectPacket, hex('4000')])],
    ['a password without a user name', hex('1012 0004 4d515454 04 42 003c 0002 6964 0002 7077')],
    ['a packet that only a broker sends', Buffer.concat([connectPacket, hex('9003 0001 00')])],
    ['HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n')],
  ])('is cut: %s; others are not disturbed', async (_what, bytes) => {
    const other = await connectDevice(gateway.broker);
    const { port, caPem } = gateway.broker;
    const socket = connect({ port, host: '127.0.0.1', servername: 'localhost', ca: caPem });
    socket.on('error', () => {});
    const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()));
    socket.write(bytes);
    socket.resume();
    await ended;
    expect(other.client.connected).toBe(true);
    await other.client.endAsync(true);
  });
});

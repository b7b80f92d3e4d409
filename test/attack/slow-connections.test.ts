import { connect, type Socket } from 'node:net';
import { connect as connectSecure, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const limits = { handshakeMs: 300, connectMs: 300, packetMs: 300 };
const connectPacket = Buffer.from('100e00044d5154540402003c00026964', 'hex');

describe.skipIf(lacks('redis-server'))('a connection that is slow on purpose', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ limits });
  });
  afterAll(() => gateway?.close());

  const closed = (socket: Socket) => {
    socket.on('error', () => {});
    socket.resume();
    return new Promise<void>((resolve) => socket.once('close', () => resolve()));
  };

  async function secure(): Promise<TLSSocket> {
    const { port, caPem } = gateway.broker;
    const socket = connectSecure({ port, host: '127.0.0.1', servername: 'localhost', ca: caPem });
    await new Promise<void>((resolve) => socket.once('secureConnect', () => resolve()));
    return socket;
  }

  it('in its TLS handshake is cut', async () => {
    const socket = connect(gateway.broker.port, '127.0.0.1');
    socket.write(Buffer.from('1603010200', 'hex'));
    await closed(socket);
  });

  it('before its CONNECT is cut', async () => {
    await closed(await secure());
  });

  it('in the body of a packet is cut, though a byte comes now and then', async () => {
    const socket = await secure();
    const ended = closed(socket);
    socket.write(connectPacket);
    socket.write(Buffer.from([0x30, 100]));
    const drip = setInterval(() => socket.write(Buffer.from([0])), 50);
    await ended;
    clearInterval(drip);
    expect(gateway.logText()).toContain('a packet took more than 300 ms');
  });
});

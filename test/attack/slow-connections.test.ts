import { connect, type Socket } from 'node:net';
import { connect as connectSecure, type TLSSocket } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { within } from '../../runtime/deadline.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf } from '../support/raw-mqtt.ts';

const limits = { handshakeMs: 300, connectMs: 300, packetMs: 300 };
/** Node's handshake timeout is two minutes by default, aedes' for a CONNECT 30 s and for a reader 60 s: ours are the limits above. */
const soonMs = 45_000;
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
    return within(soonMs, 'cutting', new Promise<void>((resolve) => socket.once('close', () => resolve())));
  };

  /** On a slow machine a handshake may not end within its limit: then there is another one. */
  async function secure(): Promise<TLSSocket> {
    for (;;) {
      const { port, caPem } = gateway.broker;
      const socket = connectSecure({ port, host: '127.0.0.1', servername: 'localhost', ca: caPem });
      socket.on('error', () => {});
      const isSecured = await new Promise<boolean>((resolve) =>
        socket.once('secureConnect', () => resolve(true)).once('close', () => resolve(false)),
      );
      if (isSecured) return socket;
    }
  }

  it('in its TLS handshake is closed', async () => {
    const socket = connect(gateway.broker.port, '127.0.0.1');
    socket.write(Buffer.from('1603010200', 'hex'));
    await closed(socket);
  });

  it('before its CONNECT is closed', async () => {
    await closed(await secure());
  });

  it('in the body of a packet is closed, although a byte arrives now and then', async () => {
    const dripOnce = async () => {
      const socket = await secure();
      const ended = closed(socket);
      socket.write(connectPacket);
      socket.write(Buffer.from([0x30, 100]));
      const drip = setInterval(() => socket.write(Buffer.from([0])), 50);
      await ended;
      clearInterval(drip);
      return gateway.logText();
    };
    // more than once where another limit came first: the machine was slow
    await expect.poll(dripOnce).toContain('a packet took more than 300 ms');
  });
});

describe.skipIf(lacks('redis-server'))('a connection that reads nothing', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    // no other limit closes it first: neither a packet that cannot be read to its end nor a refusal that cannot be written
    const fast = { burst: 1e6, perSecond: 1e6 };
    const packets = { packets: fast, verifiedPackets: fast, packetsOfAddress: fast };
    const limits = { drainMs: 300, packetMs: 60_000, storeMs: 60_000, ...packets };
    gateway = await startGateway({ limits });
  });
  afterAll(() => gateway?.close());

  it('is closed', async () => {
    const reader = await connectRaw(gateway.broker);
    reader.send(connectWith('id', { keepalive: 0 }));
    await reader.next(2);
    reader.socket.pause();
    // each is answered by a PUBACK and a rejection, which fill the kernel's send buffer
    const requests = Buffer.concat(Array.from({ length: 500 }, () => publishOf('cvm/request/slow-reader', '{}')));
    const flood = setInterval(() => reader.socket.writableLength < 1_000_000 && reader.socket.write(requests), 10);
    await expect.poll(() => gateway.broker.metric('cvm_broker_connections_open'), { timeout: 2 * soonMs }).toBe(0);
    clearInterval(flood);
    reader.socket.destroy();
  });
});

describe.skipIf(lacks('redis-server'))('a connection that was accepted', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ limits: { keepaliveSeconds: 1 } });
  });
  afterAll(() => gateway?.close());

  it.each([0, 65_535])('and is silent is closed, although it asked for a keep-alive of %i s', async (keepalive) => {
    const silent = await connectRaw(gateway.broker);
    silent.send(connectWith('id', { keepalive }));
    await silent.next(2);
    await within(soonMs, 'cutting', silent.closed);
  });

  it('and sends PINGREQ stays', async () => {
    /** @returns whether it is still connected, and the longest time without PINGREQ, in milliseconds */
    const stay = async () => {
      const device = await connectRaw(gateway.broker);
      device.send(connectWith('id', { keepalive: 0 }));
      let [sentAt, longest] = [performance.now(), 0];
      for (let sent = 0; sent < 10; sent++) {
        await new Promise((resolve) => setTimeout(resolve, 300));
        longest = Math.max(longest, performance.now() - sentAt);
        sentAt = performance.now();
        device.send(packet(0xc0));
      }
      const stayed = !device.socket.closed;
      device.socket.destroy();
      return { stayed, longest };
    };
    let seen = await stay();
    // a machine that was too slow to send in time has shown nothing
    while (!seen.stayed && seen.longest > 900) seen = await stay();
    expect(seen.stayed).toBe(true);
  });
});

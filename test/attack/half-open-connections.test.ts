import { connect, type Socket } from 'node:net';
import { connect as connectSecure } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { block, remove } from '../../operator/decisions.ts';
import { hashToken } from '../../protocol/token.ts';
import { connectPacket } from '../fuzz/corpus.ts';
import { askOnce, connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectWith, text } from '../support/raw-mqtt.ts';
import { sized } from '../support/size.ts';

const limits = {
  maxConnections: sized(300, 100),
  maxPending: sized(100, 40),
  maxPendingPerAddress: sized(100, 40),
  handshakeMs: 60_000,
  connectMs: 60_000,
};

describe.skipIf(lacks('redis-server'))('connections that only hold their places', () => {
  let gateway: Gateway;
  const sockets: Socket[] = [];
  beforeAll(async () => {
    gateway = await startGateway({ limits });
  });
  afterAll(async () => {
    for (const socket of sockets) socket.destroy();
    await gateway?.close();
  });

  /** Opens connections, takes each as far as `how` does, and counts those that are still open. */
  async function flood(count: number, how: (port: number) => Socket): Promise<() => number> {
    const opened: Socket[] = [];
    const connections = () => gateway.broker.metric('cvm_broker_connections_total');
    const before = await connections();
    // at most as many at a time as the kernel queues for a listener
    for (let start = 0; start < count; start += 400) {
      const some = Array.from({ length: Math.min(400, count - start) }, () => how(gateway.broker.port));
      // one that reads nothing does not see that it was closed
      for (const socket of some) socket.on('error', () => {}).resume();
      await Promise.all(
        some.map((socket) => new Promise((resolve) => socket.once('connect', resolve).once('close', resolve))),
      );
      opened.push(...some);
    }
    sockets.push(...opened);
    // the kernel accepts connections before the broker sees them
    await expect.poll(connections, { timeout: 60_000 }).toBe(before + count);
    return () => opened.filter((socket) => !socket.destroyed && socket.readyState === 'open').length;
  }

  it.each<[string, number, (port: number) => Socket]>([
    // not from 127.0.0.1, which gets a slot when it has said something, once all are taken
    ['say nothing', sized(10_000, 500), (port) => connect({ port, host: '127.0.0.1', localAddress: '127.0.3.1' })],
    [
      'begin a TLS handshake and stop',
      sized(10_000, 500),
      (port) => {
        const socket = connect(port, '127.0.0.1');
        socket.write(Buffer.from('1603010200010001fc0303', 'hex'));
        return socket;
      },
    ],
    [
      'finish the handshake and never send CONNECT',
      sized(1000, 150),
      (port) => connectSecure({ port, host: '127.0.0.1', rejectUnauthorized: false }),
    ],
    [
      'send CONNECT, from many addresses, and then nothing',
      sized(1000, 150),
      (port) => {
        const localAddress = `127.0.0.${1 + (sockets.length % 200)}`;
        const plain = connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {});
        const socket = connectSecure({ socket: plain, rejectUnauthorized: false });
        socket.once('secureConnect', () => socket.write(connectPacket));
        return socket;
      },
    ],
  ])(
    'and %s, %i of them, do not keep a device out, and do not touch one that is being served',
    async (_what, count, how) => {
      const { serial: username, token: password } = await gateway.enrolOnRoster(`served-${sockets.length}`);
      const served = await connectDevice(gateway.broker, { username, password });
      const { serial, token } = await gateway.enrol(`half-open-${sockets.length}`);
      const left = await flood(count, how);
      expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
      // a socket sees that it was closed some time after the broker has closed it
      await expect.poll(left).toBeLessThan(limits.maxConnections);
      expect(served.client.connected).toBe(true);
      await served.client.endAsync(true);
    },
  );

  it('and have the token of one device, do not keep another device out, and leave that device its newest', async () => {
    const thief = await gateway.enrolOnRoster('places-of-one-token');
    const login = [text(thief.serial), text(thief.token)];
    const left = await flood(limits.maxConnections + 50, (port) => {
      const plain = connect({ port, host: '127.0.0.1', localAddress: `127.0.1.${1 + (sockets.length % 200)}` });
      const socket = connectSecure({ socket: plain.on('error', () => {}), rejectUnauthorized: false });
      socket.once('secureConnect', () => socket.write(connectWith('thief', { flags: 0xc2, payload: login })));
      return socket;
    });
    const { serial, token } = await gateway.enrol('beside-one-token');
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    await expect.poll(left).toBeLessThanOrEqual(16);
  });

  it.each<[string, (serial: string) => Promise<unknown>]>([
    ['was blocked', (serial) => block(serial, gateway.operator)],
    ['was removed', (serial) => remove(serial, 'with-thing', gateway.operator)],
    ['has another token by now', (serial) => gateway.reissueOnRoster(serial)],
  ])('and have the token of a device that %s, lose their better right to them', async (what, decide) => {
    const { serial, token } = await gateway.enrolOnRoster(`lost-right-${what.replaceAll(' ', '-')}`);
    const idle = await connectDevice(gateway.broker, { username: serial, password: token });
    const closed = new Promise<void>((resolve) => idle.client.once('close', () => resolve()));
    await decide(serial);
    await expect.poll(() => gateway.broker.roster.isCurrent(serial, hashToken(token))).toBe(false);
    // as good as a stranger's, and older: it goes when strangers fill all slots
    await flood(limits.maxConnections, (port) => {
      const localAddress = `127.0.2.${1 + (sockets.length % 200)}`;
      const socket = connectSecure({
        socket: connect({ port, host: '127.0.0.1', localAddress }).on('error', () => {}),
        rejectUnauthorized: false,
      });
      socket.once('secureConnect', () => socket.write(connectPacket));
      return socket;
    });
    await closed;
  });
});

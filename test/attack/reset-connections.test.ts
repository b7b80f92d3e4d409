import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

/** Two handshakes are enough to fill the limit until they end. */
const limits = { maxHandshakes: 2, handshakeTurnMs: 60_000, handshakeMs: 60_000 };

describe.skipIf(lacks('redis-server'))('connections that are reset', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ limits });
  });
  afterAll(() => gateway?.close());

  const open = (options: { localAddress?: string; localPort?: number } = {}) => {
    const socket = connect({ port: gateway.broker.port, host: '127.0.0.1', ...options });
    socket.on('error', () => {});
    return new Promise<Socket>((resolve) => socket.once('connect', () => resolve(socket)));
  };
  const come = (count: number) => expect.poll(() => gateway.broker.metric('cvm_broker_connections_open')).toBe(count);

  it('while they wait for their handshake end only themselves', async () => {
    const silent = await Promise.all([open(), open()]);
    const waiting = await Promise.all(Array.from({ length: 50 }, () => open()));
    await come(52);
    for (const socket of waiting) socket.resetAndDestroy();
    await come(2);
    for (const socket of silent) socket.destroy();
    const { serial, token } = await gateway.enrol('after-the-resets');
    expect(await askOnce(gateway.broker, serial, { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    await come(0);
  });

  it('before the broker accepted them keep no place', async () => {
    for (let round = 0; round < 20; round++) {
      const opened = Array.from({ length: 50 }, () => connect(gateway.broker.port, '127.0.0.1'));
      for (const socket of opened) socket.on('error', () => {}).once('connect', () => socket.resetAndDestroy());
      await Promise.all(opened.map((socket) => new Promise((resolve) => socket.once('close', resolve))));
    }
    await come(0);
  });
});

import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect as connectSecure } from 'node:tls';
import type { Registry } from 'prom-client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { defaultLimits } from '../../broker/limits.ts';
import { type Connection, connectionOf } from '../../broker/listener/connection.ts';
import { createDeviceListener } from '../../broker/listener/listener.ts';
import { addressList } from '../../runtime/addresses.ts';
import { createLog } from '../../runtime/log.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { createMetrics } from '../../telemetry/metrics.ts';
import { metricOf } from '../support/metrics.ts';
import { headerFor } from '../support/proxy-header.ts';

/** One handshake at a time, and one that hangs keeps its turn until its connection ends. */
const limits = { ...defaultLimits, maxHandshakes: 1, handshakeTurnMs: 60_000, handshakeMs: 60_000 };
const psk = Buffer.alloc(32, 7);
const keysOf = (serial: string) =>
  serial === 'SN-1'
    ? { tokenHash: 'sha256:aa', keys: { psk: Buffer.from(psk), replySeed: Buffer.alloc(32, 8) } }
    : undefined;

describe('the device listener', () => {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-listener-'));
  let metricsRegistry: Registry;
  let accepted: Connection[] = [];
  let turnedAway: string[] = [];
  let listener: ReturnType<typeof createDeviceListener>;
  let listenerWith: (given: typeof limits) => typeof listener;
  let port: number;
  const sockets: Socket[] = [];

  beforeEach(async () => {
    [accepted, turnedAway] = [[], []];
    const made = createMetrics();
    metricsRegistry = made.metricsRegistry;
    const tls = await loadTlsMaterial({ dataDir: folder, hostnames: [], machineName: 'test' });
    listenerWith = (given) =>
      createDeviceListener({
        tls,
        suites: 'modern',
        limits: given,
        balancers: addressList(['127.0.9.9']),
        roster: { keysOf },
        metrics: made.metrics,
        log: createLog('silent'),
        onConnection: (stream) => void accepted.push(connectionOf(stream)),
        onTurnedAway: (_connection, reason) => void turnedAway.push(reason),
        onHandshakeFailed() {},
      });
    listener = listenerWith(limits);
    port = await listener.listen(0, '127.0.0.1');
  });
  afterEach(async () => {
    for (const socket of sockets.splice(0)) socket.destroy();
    await listener.close().cut();
    rmSync(folder, { recursive: true, force: true });
  });

  async function openFrom(localAddress: string): Promise<Socket> {
    const admitted = await metricOf(metricsRegistry, 'cvm_broker_connections_total');
    const socket = connect({ port, host: '127.0.0.1', localAddress });
    sockets.push(socket.on('error', () => {}));
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_connections_total')).toBe(admitted + 1);
    return socket;
  }

  const beginOfHello = Buffer.from('1603010200010001fc0303', 'hex');

  it('gives no turn to connections that say nothing', async () => {
    for (let count = 0; count < 10; count++) await openFrom(`127.0.0.${count + 3}`);
    const plain = await openFrom('127.0.0.2');
    connectSecure({ socket: plain, rejectUnauthorized: false }).on('error', () => {});
    await expect.poll(() => accepted.map(({ address }) => address)).toEqual(['127.0.0.2']);
  });

  it('gives no turn to connections of a balancer that have sent their header and nothing more', async () => {
    for (let count = 0; count < 10; count++) {
      const proxied = connect({ port, host: '127.0.0.1', localAddress: '127.0.9.9' });
      sockets.push(proxied.on('error', () => {}));
      proxied.write(headerFor(`203.0.113.${count}`));
    }
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_connections_total')).toBe(10);
    const plain = await openFrom('127.0.0.2');
    connectSecure({ socket: plain, rejectUnauthorized: false }).on('error', () => {});
    await expect.poll(() => accepted.map(({ address }) => address)).toEqual(['127.0.0.2']);
  });

  it('gives the turn of a handshake that hangs to the next connection', async () => {
    await listener.close().cut();
    listener = listenerWith({ ...limits, wholeHelloMs: 10, handshakeTurnMs: 300 });
    port = await listener.listen(0, '127.0.0.1');
    for (let count = 0; count < 2; count++) (await openFrom('127.0.0.1')).write(beginOfHello);
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_handshakes_waiting')).toBe(1);
    const plain = await openFrom('127.0.0.2');
    connectSecure({ socket: plain, rejectUnauthorized: false }).on('error', () => {});
    await expect.poll(() => accepted.map(({ address }) => address)).toEqual(['127.0.0.2']);
  });

  it('ends a connection that waits for its turn without end', async () => {
    await listener.close().cut();
    listener = listenerWith({ ...limits, wholeHelloMs: 10, turnMs: 100 });
    port = await listener.listen(0, '127.0.0.1');
    for (let count = 0; count < 2; count++) (await openFrom('127.0.0.1')).write(beginOfHello);
    await expect.poll(() => turnedAway).toEqual([expect.stringMatching(/waited too long for its turn/)]);
    // the one that has its turn stays
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_connections_open')).toBe(1);
  });

  it('keeps few connections of balancers that send no header: the oldest goes', async () => {
    await listener.close().cut();
    listener = listenerWith({ ...limits, proxyHeaderMs: 60_000, maxWithoutProxyHeader: 3 });
    port = await listener.listen(0, '127.0.0.1');
    const silent = Array.from({ length: 5 }, () =>
      connect({ port, host: '127.0.0.1', localAddress: '127.0.9.9' })
        .on('error', () => {})
        .resume(),
    );
    sockets.push(...silent);
    await expect.poll(() => silent.filter(({ destroyed }) => destroyed).length).toBe(2);
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_connections_open')).toBe(3);
  });

  it('ends a connection that says nothing, and one that is closed before it says anything', async () => {
    await listener.close().cut();
    listener = listenerWith({ ...limits, handshakeMs: 100 });
    port = await listener.listen(0, '127.0.0.1');
    const [silent, gone] = [await openFrom('127.0.0.1'), await openFrom('127.0.0.1')];
    gone.end();
    await expect.poll(() => silent.destroyed || silent.readableEnded || silent.closed).toBe(true);
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_connections_open')).toBe(0);
  });

  it('serves another address in turn, however many connections of one address wait for their handshake', async () => {
    for (let count = 0; count < 10; count++) (await openFrom('127.0.0.1')).write(beginOfHello);
    await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_handshakes_waiting')).toBe(9);
    const plain = await openFrom('127.0.0.2');
    connectSecure({ socket: plain, rejectUnauthorized: false }).on('error', () => {});
    // the connection that has the turn ends, and then the next one of its address
    for (const index of [0, 1]) {
      sockets[index]?.destroy();
      await expect.poll(() => metricOf(metricsRegistry, 'cvm_broker_connections_open')).toBe(10 - index);
    }
    await expect.poll(() => accepted.map(({ address }) => address)).toEqual(['127.0.0.2']);
  });

  it.each([
    ['TLS 1.3', { minVersion: 'TLSv1.3' as const }],
    ['TLS 1.2', { maxVersion: 'TLSv1.2' as const, ciphers: 'PSK-AES128-GCM-SHA256' }],
  ])(
    'ties the device that the handshake authenticated to its connection: pre-shared key, %s',
    async (_version, tls) => {
      const offerKey = (identity: string, key: Buffer) => ({
        pskCallback: () => ({ psk: key, identity }),
        checkServerIdentity: () => undefined,
      });
      const options = [tls, offerKey('SN-1', psk)];
      const device = connectSecure(Object.assign({ port, host: '127.0.0.1' }, ...options));
      sockets.push(device.on('error', () => {}));
      await expect.poll(() => accepted.map((connection) => connection.psk?.serial)).toEqual(['SN-1']);
      expect(accepted[0]?.psk?.keys.psk).toEqual(psk);
      expect(accepted[0]?.remoteAddress).toBe('127.0.0.1');

      for (const [identity, key] of [
        ['SN-1', Buffer.alloc(32, 1)],
        ['SN-2', Buffer.alloc(32, 7)],
      ] as const) {
        const stranger = connectSecure(Object.assign({ port, host: '127.0.0.1' }, tls, offerKey(identity, key)));
        const closed = new Promise((resolve) => stranger.once('close', resolve));
        sockets.push(stranger.on('error', () => {}));
        await closed;
      }
      expect(accepted).toHaveLength(1);
    },
  );

  it('ties no device to a connection whose handshake went by certificate', async () => {
    sockets.push(connectSecure({ port, host: '127.0.0.1', rejectUnauthorized: false }).on('error', () => {}));
    await expect.poll(() => accepted.map((connection) => connection.psk)).toEqual([undefined]);
  });
});

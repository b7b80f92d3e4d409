import { connect, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { clientHello } from '../support/client-hello.ts';
import { lacks } from '../support/lacks.ts';
import { opensslClient } from '../support/openssl-client.ts';
import { headerFor } from '../support/proxy-header.ts';
import { keyed, startTlsListener, type TlsListener } from '../support/tls-listener.ts';

const [balancer, device] = ['127.0.9.9', '127.0.0.2'];

describe('a connection whose TLS fails', () => {
  let listener: TlsListener;
  const sockets: Socket[] = [];
  beforeAll(async () => {
    listener = await startTlsListener({ limits: { proxyHeaderMs: 60_000 } });
  });
  beforeEach(() => {
    for (const noted of [listener.failed, listener.turnedAway]) noted.splice(0);
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  afterAll(() => listener?.close());

  /** Connects and sends these bytes. */
  function open(from: string, bytes: Buffer): Socket {
    const socket = connect({ port: listener.port, host: '127.0.0.1', localAddress: from }, () => socket.write(bytes));
    sockets.push(socket.on('error', () => {}).resume());
    return socket;
  }

  describe.skipIf(lacks('openssl'))('is in the log with cause and cure, in one line', () => {
    const [tls12, all] = ['-tls1_2', ['-cipher', 'ALL:@SECLEVEL=0']];
    const key = (identity: string, hex: string) => ['-psk', hex, '-psk_identity', identity];
    const [right, wrong] = [keyed.psk.toString('hex'), '01'.repeat(32)];

    it.each<[string, string[], RegExp, string?]>([
      ['TLS 1.1', ['-tls1_1', ...all], /^it speaks no version of TLS .* 1\.2 or 1\.3/],
      ['RSA only', [tls12, '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'], /no cipher suite .*CVM_TLS_KEY_TYPE=both/],
      ['RSA only, TLS 1.3', ['-tls1_3', '-sigalgs', 'RSA-PSS+SHA256'], /no signature .*CVM_TLS_KEY_TYPE=both/],
      ['CBC only', [tls12, '-cipher', 'ECDHE-ECDSA-AES128-SHA256'], /no cipher suite .*CVM_TLS_SUITES=old/],
      ['other curves', ['-tls1_3', '-groups', 'ffdhe2048'], /no curve .*P-256/],
      ['no site CA', ['-verify_return_error'], /^it does not trust the CA .*cvm tls show.*both that of P-256/],
      ['no site CA, TLS 1.2', [tls12, '-verify_return_error'], /^it does not trust the CA .*cvm tls show/],
      ['HTTPS', ['-alpn', 'h2,http/1.1', '-verify_return_error'], /^it is HTTPS: .*; .*WebSocket; a health check/],
      ['HTTPS, TLS 1.2', [tls12, '-alpn', 'http/1.1', '-verify_return_error'], /^it is HTTPS: /],
      ['MQTT by ALPN', ['-alpn', 'mqtt,http/1.1', '-verify_return_error'], /^it does not trust the CA /],
      ['a wrong key', ['-tls1_3', ...key('SN-1', wrong)], /key is not the one of this serial: .*token/, 'SN-1'],
      ['a wrong key, TLS 1.2', [tls12, ...all, ...key('SN-1', wrong)], /key is not the one of this serial/, 'SN-1'],
      ['an unknown serial', ['-tls1_3', ...key('SN-2', right)], /no key of this serial: .*enrolled/, 'SN-2'],
      ['an unknown serial, TLS 1.2', [tls12, ...all, ...key('SN-2', right)], /no key of this serial/, 'SN-2'],
      ['an identity that is no serial', [tls12, ...all, ...key('a b', right)], /^its .* identity is no serial$/],
    ])('%s', async (_what, args, reason, serial) => {
      await opensslClient(listener.port, args);
      await expect.poll(() => listener.failed).toHaveLength(1);
      const [failure] = listener.failed;
      expect(failure).toMatchObject({ serial, remoteAddress: '127.0.0.1', reason: expect.stringMatching(reason) });
      expect(failure?.reason).not.toMatch(/\n|ERR_/);
    });

    it('a name that the certificate lacks', async () => {
      const named = ['-CAfile', listener.tls.caFile ?? '', '-verify_hostname', 'other.example', '-verify_return_error'];
      await opensslClient(listener.port, named);
      await expect
        .poll(() => listener.failed.map(({ reason }) => reason))
        .toEqual([expect.stringMatching(/^it refuses the server certificate: .*CVM_HOSTNAMES/)]);
    });
  });

  it.each<[string, Buffer, RegExp]>([
    ['plain MQTT', Buffer.from('100d00044d5154540402003c000161', 'hex'), /^it is plain MQTT: .*; turn TLS on/],
    ['its first byte', Buffer.from([0x10]), /^it is plain MQTT: /],
    ['plain HTTP', Buffer.from('GET / HTTP/1.1\r\n\r\n'), /^it is plain HTTP: .*; .*WebSocket; a health check/],
    ['anything else', Buffer.from('SSH-2.0-x\r\n'), /^it is something else than TLS: .*; check the address/],
  ])(
    'is closed at once when it is no TLS, and the log says what it is and what to do: %s',
    async (_what, bytes, reason) => {
      for (const [from, begin] of [
        [device, bytes],
        [balancer, Buffer.concat([headerFor('203.0.113.7'), bytes])],
      ] as const) {
        const socket = open(from, begin);
        await expect.poll(() => socket.closed).toBe(true);
      }
      await expect.poll(() => listener.failed).toHaveLength(2);
      expect(listener.failed).toMatchObject([
        { serial: undefined, remoteAddress: device, reason: expect.stringMatching(reason) },
        { serial: undefined, remoteAddress: '203.0.113.7', reason: expect.stringMatching(reason) },
      ]);
    },
  );

  it('is in the log when the device ends it in the middle of the handshake, by FIN or reset', async () => {
    const hello = clientHello({ suites: [0xc02b] });
    for (const end of ['end', 'resetAndDestroy'] as const) {
      const socket = open(device, hello);
      await new Promise((resolve) => socket.once('data', resolve));
      socket[end]();
    }
    await expect.poll(() => listener.failed).toHaveLength(2);
    for (const { reason, remoteAddress } of listener.failed) {
      expect(reason).toMatch(
        /^it ended the connection during the handshake .*site CA.* name .* time.* max_fragment_length/,
      );
      expect(remoteAddress).toBe(device);
    }
  });

  it('is in the log when the handshake does not end in time', async () => {
    const hasty = await startTlsListener({ limits: { handshakeMs: 100 } });
    const socket = connect({ port: hasty.port, host: '127.0.0.1' }, () =>
      socket.write(clientHello({ suites: [0xc02b] })),
    );
    sockets.push(socket.on('error', () => {}).resume());
    await expect
      .poll(() => hasty.failed.map(({ reason }) => reason))
      .toEqual(['it did not finish its handshake in time']);
    await hasty.close();
  });

  it('is not blamed on a device whose connection this side closed, to make room or to stop', async () => {
    const other = await startTlsListener({ limits: { maxConnections: 1, maxPending: 1 } });
    const hang = () => {
      const socket = connect({ port: other.port, host: '127.0.0.1', localAddress: device }, () =>
        socket.write(clientHello({ suites: [0xc02b] })),
      );
      sockets.push(socket.on('error', () => {}));
      return new Promise((resolve) => socket.once('data', resolve));
    };
    await hang();
    await hang();
    await expect.poll(() => sockets.map(({ closed }) => closed)).toEqual([true, false]);
    await other.close();
    await new Promise((resolve) => setImmediate(resolve));
    expect(other.failed).toEqual([]);
  });

  it('is told as having two PROXY protocol headers, when it has', async () => {
    const socket = open(balancer, Buffer.concat([headerFor('203.0.113.7'), headerFor('203.0.113.8')]));
    await expect.poll(() => socket.closed).toBe(true);
    expect(listener.turnedAway).toEqual([
      { remoteAddress: '203.0.113.7', reason: expect.stringMatching(/^it has two PROXY .* let only one of them send/) },
    ]);
  });

  it.each<[string, Buffer, RegExp]>([
    ['15 bytes of plain MQTT', Buffer.from('100d00044d5154540402003c000161', 'hex'), /is absent: .* plain MQTT/],
    ['a byte of TLS', Buffer.from([0x16]), /is absent: .* TLS/],
    ['a header that goes on as none', Buffer.from('\r\n\r\n\0\r\nQUIX', 'latin1'), /is absent: .* something else/],
  ])('at a balancer ends with the first byte that no header has: %s', async (_what, bytes, reason) => {
    const socket = open(balancer, bytes);
    await expect.poll(() => socket.closed).toBe(true);
    expect(listener.turnedAway).toEqual([{ remoteAddress: balancer, reason: expect.stringMatching(reason) }]);
  });
});

import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { connect as connectSecure } from 'node:tls';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { askOnce } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { accepts, freePort, until } from '../support/network.ts';
import {
  headerFor,
  headerOf,
  ipv4,
  ipv6,
  local,
  proxy,
  tcp4,
  tcp6,
  tlv,
  udp4,
  unix,
  unspecified,
} from '../support/proxy-header.ts';
import { connectWith, publishOf } from '../support/raw-mqtt.ts';

const balancer = '127.0.0.9';

describe.skipIf(lacks('redis-server'))('connections of a balancer that is named in CVM_PROXY_FROM', () => {
  let gateway: Gateway;
  const sockets: Socket[] = [];
  beforeAll(async () => {
    gateway = await startGateway({
      env: { CVM_PROXY_FROM: `${balancer}, 127.8.0.0/16`, CVM_MAX_CONNECTIONS_PER_ADDRESS: '2' },
      limits: { proxyHeaderMs: 3000 },
    });
  });
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  afterAll(() => gateway?.close());

  async function plainFrom(localAddress: string): Promise<Socket> {
    const socket = connect({ port: gateway.broker.port, host: '127.0.0.1', localAddress });
    sockets.push(socket.on('error', () => {}));
    await once(socket, 'connect');
    return socket;
  }

  /** Over a connection that begins with these bytes: TLS, CONNECT, and a request without a token. */
  async function askThrough(begin: readonly Buffer[], serial: string, from = balancer): Promise<Socket> {
    const plain = await plainFrom(from);
    for (const part of begin) await new Promise((resolve) => plain.write(part, resolve));
    const secure = connectSecure({ socket: plain, rejectUnauthorized: false });
    secure.on('error', () => {}).resume();
    sockets.push(secure);
    await new Promise((resolve) => secure.once('secureConnect', resolve).once('close', resolve));
    secure.write(Buffer.concat([connectWith('device'), publishOf(requestTopic(serial), '{}')]));
    return secure;
  }

  const addressesLogged = (serial: string) =>
    gateway
      .logText()
      .split('\n')
      .filter((line) => line.includes(`"${serial}"`) && line.includes('"msg":"refused"'))
      .map((line) => JSON.parse(line).remoteAddress);

  /** Also a busy machine is a warning. */
  const warningsSince = (length: number) =>
    gateway
      .logText()
      .slice(length)
      .split('\n')
      .filter((line) => line.includes('"level":40') && !line.includes('the event loop is late'));

  const bytewise = (data: Buffer) => Array.from(data, (byte) => Buffer.from([byte]));

  it.each<[string, readonly Buffer[], string, string?]>([
    ['of an IPv4 device', [headerFor('203.0.113.7')], '203.0.113.7'],
    ['from a named network', [headerFor('203.0.113.8')], '203.0.113.8', '127.8.1.2'],
    ['in many pieces', bytewise(headerFor('203.0.113.9')), '203.0.113.9'],
    ['of an IPv6 device', [headerOf(proxy, tcp6, ipv6(`20010db8${'0'.repeat(22)}07`))], '2001:db8::7'],
    [
      'with more fields',
      [headerOf(proxy, tcp4, Buffer.concat([ipv4('203.0.113.10'), tlv(4, Buffer.alloc(1000))]))],
      '203.0.113.10',
    ],
    ['of the balancer itself', [headerOf(local, unspecified, Buffer.alloc(0))], balancer],
    ['of the balancer itself, with an address', [headerOf(local, tcp4, ipv4('203.0.113.11'))], balancer],
    ['without an address', [headerOf(proxy, unspecified, Buffer.alloc(0))], balancer],
    ['of a UNIX socket', [headerOf(proxy, unix, Buffer.alloc(216))], balancer],
    ['of a datagram', [headerOf(proxy, udp4, ipv4('203.0.113.12'))], '203.0.113.12'],
  ])('count as those of the address in the header: one %s', async (what, begin, address, from) => {
    const serial = `header-${what.replaceAll(/\W+/g, '-')}`;
    await askThrough(begin, serial, from);
    await expect.poll(() => addressesLogged(serial)).toEqual([address]);
  });

  it('may bring header and ClientHello in one segment', async () => {
    const hello = await new Promise<Buffer>((resolve) => {
      const capture = new Duplex({ read() {}, write: (chunk: Buffer) => resolve(chunk) });
      connectSecure({ socket: capture }).on('error', () => {});
    });
    const plain = await plainFrom(balancer);
    plain.write(Buffer.concat([headerFor('203.0.113.20'), hello]));
    const [answer] = (await once(plain, 'data')) as [Buffer];
    // a handshake record
    expect(answer[0]).toBe(0x16);
  });

  it('have the limits of the address in the header, not together those of the balancer', async () => {
    const open: Socket[] = [];
    for (let device = 1; device <= 5; device++)
      open.push(await askThrough([headerFor(`203.0.113.${100 + device}`)], `own-limit-${device}`));
    for (let device = 1; device <= 5; device++)
      await expect.poll(() => addressesLogged(`own-limit-${device}`)).toHaveLength(1);
    expect(open.map(({ destroyed }) => destroyed)).toEqual([false, false, false, false, false]);
    // one address has two slots, whichever way it comes
    const same: Socket[] = [];
    for (let count = 1; count <= 3; count++) same.push(await askThrough([headerFor('203.0.113.200')], `one-${count}`));
    await expect.poll(() => same.filter(({ destroyed }) => !destroyed).length).toBe(2);
  });

  it.each<[string, Buffer, RegExp]>([
    ['of version 1', Buffer.from('PROXY TCP4 203.0.113.1 127.0.0.1 49153 8883\r\n'), /has version 1/],
    ['that is none, but TLS', Buffer.from(`1603010200010001fc0303${'00'.repeat(20)}`, 'hex'), /is absent/],
    ['of another version', headerOf(0x31, tcp4, ipv4('203.0.113.1')), /unknown version or command/],
    ['with an unknown command', headerOf(0x22, tcp4, ipv4('203.0.113.1')), /unknown version or command/],
    ['of an unknown family', headerOf(proxy, 0x41, ipv4('203.0.113.1')), /unknown address family/],
    ['shorter than its addresses', headerOf(proxy, tcp6, ipv4('203.0.113.1')), /too short/],
    ['that announces more than a header may have', headerOf(proxy, tcp4, ipv4('203.0.113.1'), 0xffff), /longer than/],
    ['that does not come to its end', headerOf(proxy, tcp4, ipv4('203.0.113.1'), 500), /did not come within/],
    ['that does not come', Buffer.from('\r\n\r\n'), /did not come within/],
  ])('are closed, with cause and cure in the log: a header %s', async (_what, begin, reason) => {
    const before = gateway.logText().length;
    const plain = await plainFrom(balancer);
    const closed = once(plain, 'close');
    plain.write(begin);
    await closed;
    const lines = () => gateway.logText().slice(before).split('\n');
    await expect
      .poll(() => lines().filter((line) => reason.test(line) && line.includes('CVM_PROXY_FROM')))
      .toHaveLength(1);
    expect(lines().find((line) => reason.test(line))).toContain('"level":40');
  });

  it('are closed silently when they end without a byte, as health checks do', async () => {
    const before = gateway.logText().length;
    const plain = await plainFrom(balancer);
    const closed = once(plain, 'close');
    plain.end();
    await closed;
    expect(warningsSince(before)).toEqual([]);
  });

  it('are the only ones whose header is read: from any other address it is not TLS, and the connection ends', async () => {
    const forged = await askThrough([headerFor('203.0.113.30')], 'forged-header', '127.0.0.10');
    await expect.poll(() => forged.destroyed).toBe(true);
    expect(addressesLogged('forged-header')).toEqual([]);
    await askThrough([], 'no-header', '127.0.0.10');
    await expect.poll(() => addressesLogged('no-header')).toEqual(['127.0.0.10']);
  });

  it.each<[string, Buffer]>([
    ['1', Buffer.from('PROXY TCP4 203.0.113.1 127.0.0.1 49153 8883\r\n')],
    ['2', headerFor('203.0.113.31')],
  ])(
    'from any other address leaves one warning with cause and cure, and none of its bytes: a header, version %s',
    async (version, header) => {
      const before = gateway.logText().length;
      const other = await plainFrom('127.0.0.11');
      const closed = once(other, 'close');
      other.write(header);
      await closed;
      const warnings = () => warningsSince(before);
      await expect.poll(warnings).toHaveLength(1);
      expect(JSON.parse(warnings()[0] ?? '')).toMatchObject({
        remoteAddress: '127.0.0.11',
        reason: expect.stringMatching(
          `^it begins with a PROXY protocol header, version ${version}, and CVM_PROXY_FROM does not name 127.0.0.11; if .* name this address`,
        ),
      });
      expect(warnings()[0]).not.toContain('203.0.113');
    },
  );

  it('are named when the broker starts', () => {
    const line = gateway
      .logText()
      .split('\n')
      .find((text) => text.includes('broker is listening'));
    expect(JSON.parse(line ?? '{}').proxyFrom).toEqual([balancer, '127.8.0.0/16']);
  });

  describe.skipIf(lacks('haproxy'))('through HAProxy', () => {
    let haproxy: ChildProcess;
    let folder: string;
    let port: number;
    beforeAll(async () => {
      [port, folder] = [await freePort(), mkdtempSync(join(tmpdir(), 'cvm-haproxy-'))];
      const config = join(folder, 'haproxy.cfg');
      writeFileSync(
        config,
        `defaults
  mode tcp
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen devices
  bind 127.0.0.1:${port}
  server gateway 127.0.0.1:${gateway.broker.port} source ${balancer} send-proxy-v2 check check-send-proxy inter 200ms
`,
      );
      haproxy = spawn('haproxy', ['-db', '-f', config], { stdio: 'ignore' });
      await until(() => accepts(port), 60_000, 'HAProxy is up');
    });
    afterAll(async () => {
      const gone = once(haproxy, 'exit');
      haproxy.kill();
      await gone;
      rmSync(folder, { recursive: true });
    });

    it('a device gets its certificate, and the audit trail has its own address', async () => {
      const { serial, token } = await gateway.enrol('behind-haproxy');
      const reply = await askOnce({ ...gateway.broker, port }, serial, { token, key: 'ec' });
      expect(reply).toMatchObject({ status: 'accepted' });
      const refused = await askOnce({ ...gateway.broker, port }, 'also-behind-haproxy', {});
      expect(refused).toMatchObject({ status: 'rejected' });
      await expect.poll(() => addressesLogged('also-behind-haproxy')).toEqual(['127.0.0.1']);
    });

    it('its health checks, made in its own name, leave no warning', async () => {
      const before = gateway.logText().length;
      await new Promise((resolve) => setTimeout(resolve, 1000));
      expect(warningsSince(before)).toEqual([]);
    });
  });
});

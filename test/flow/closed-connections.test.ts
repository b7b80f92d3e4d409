import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { connectRaw, connectWith, packet, publishOf, text } from '../support/raw-mqtt.ts';

const run = promisify(execFile);
const token = 'a-token-of-no-device-at-all';
const nothing = Buffer.alloc(0);
const [bySerial, byOtherName] = ['SN-1', 'no serial'].map((name) => [text(name), text(token)]);
const named = connectWith('c', { flags: 0xc2, payload: bySerial ?? [] });
const noName = connectWith('c');
const publishWithQos2 = packet(0x34, text(requestTopic('SN-1')), Buffer.from([0, 3]), Buffer.from('{}'));

describe.skipIf(lacks('redis-server'))('a connection that the broker closes', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({
      logLevel: 'info',
      limits: { packetMs: 2500, connectMs: 2500, maxConnectionsPerSerial: 1 },
    });
  });
  afterAll(() => gateway?.close());

  const infoLines = (text: string): { level: number }[] =>
    text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line))
      .filter(({ level, remoteAddress }) => level >= 30 && remoteAddress !== undefined);
  const lines = () =>
    gateway
      .logText()
      .split('\n')
      .filter((line) => line.includes('closing a connection'))
      .map((line) => JSON.parse(line));

  it.each<[string, Buffer, string | undefined, RegExp]>([
    [
      'a will',
      connectWith('w', { flags: 0x06, payload: [text('t'), text('m')] }),
      undefined,
      /CONNACK 5: it has a will/,
    ],
    [
      'a will of a named device',
      connectWith('w', { flags: 0xc6, payload: [text('t'), text('m'), ...(bySerial ?? [])] }),
      'SN-1',
      /CONNACK 5/,
    ],
    [
      'a user name that is no serial',
      connectWith('n', { flags: 0xc2, payload: byOtherName ?? [] }),
      undefined,
      /CONNACK 4: the user name is not a serial/,
    ],
    ['no CONNECT', nothing, undefined, /no CONNECT/],
    ['MQTT 6', Buffer.from('101000044d5154540602003c000003707172', 'hex'), undefined, /an MQTT version other/],
    [
      'a topic of nobody',
      Buffer.concat([named, publishOf('elsewhere', 'x')]),
      'SN-1',
      /devices publish to cvm\/request/,
    ],
    [
      'a topic whose begin a shell has taken for a variable',
      Buffer.concat([named, publishOf('/certificates/create/json', 'x')]),
      'SN-1',
      /devices publish to .* only: the topic must begin with "\$aws"/,
    ],
    [
      'HTTPS',
      Buffer.from('GET / HTTP/1.1\r\nHost: gateway\r\n\r\n'),
      undefined,
      /^it is HTTPS: .*MQTT.*; .*health check/,
    ],
    ['QoS 2', Buffer.concat([noName, publishWithQos2]), undefined, /QoS 2 is not offered/],
    [
      'a bad packet after a good one',
      Buffer.concat([named, Buffer.from('c000f000', 'hex')]),
      'SN-1',
      /type 15 is reserved/,
    ],
    [
      'too long a packet',
      Buffer.concat([named, Buffer.from('32ffff7f', 'hex')]),
      'SN-1',
      /2097155 bytes was announced/,
    ],
    ['half a packet', Buffer.concat([named, Buffer.from([0x32])]), 'SN-1', /took more than/],
    [
      'silence for longer than its keep-alive',
      connectWith('k', { flags: 0xc2, keepalive: 1, payload: bySerial ?? [] }),
      'SN-1',
      /keep-alive/,
    ],
  ])('is in the log once, at info, with address, serial and reason: %s', async (_what, bytes, serial, reason) => {
    const before = lines().length;
    const device = await connectRaw(gateway.broker);
    device.send(bytes);
    await device.closed;
    await expect.poll(() => lines().length).toBeGreaterThan(before);
    await new Promise((resolve) => setTimeout(resolve, 50));
    const [line, ...more] = lines().slice(before);
    expect(more).toEqual([]);
    expect(line).toMatchObject({ level: 30, remoteAddress: '127.0.0.1', reason: expect.stringMatching(reason) });
    expect(line.serial).toBe(serial);
  });

  it.skipIf(lacks('curl')).each<[string, string, boolean, RegExp]>([
    ['plain HTTP', 'http', false, /^it is plain HTTP: .*; .*WebSocket; a health check/],
    ['HTTPS, and does not trust the site CA', 'https', false, /^it is HTTPS: .*; .*WebSocket; a health check/],
    ['HTTPS, and trusts the site CA', 'https', true, /^it is HTTPS: .*; .*WebSocket; a health check/],
  ])('has one line at info when curl asks by %s', async (_what, scheme, trusts, reason) => {
    const { port, caFile } = gateway.broker;
    const before = gateway.logText().length;
    const trust = trusts ? ['--cacert', caFile] : [];
    await expect(run('curl', ['-s', '-m', '10', ...trust, `${scheme}://localhost:${port}/`])).rejects.toThrow();
    const said = () => infoLines(gateway.logText().slice(before));
    await expect.poll(said).not.toEqual([]);
    const remoteAddress = expect.stringMatching(/127\.0\.0\.1$/);
    expect(said()).toMatchObject([{ level: 30, remoteAddress, reason: expect.stringMatching(reason) }]);
  });

  it('is in the log when a newer one of the same device takes its place', async () => {
    const device = await gateway.enrolOnRoster('SN-2');
    const connect = connectWith('e', { flags: 0xc2, payload: [text(device.serial), text(device.token)] });
    const connections = [await connectRaw(gateway.broker), await connectRaw(gateway.broker)] as const;
    for (const each of connections) {
      each.send(connect);
      await each.next(2);
    }
    await connections[0].closed;
    expect(lines().at(-1)).toMatchObject({
      serial: device.serial,
      reason: expect.stringContaining('too many connections'),
    });
    connections[1].socket.destroy();
  });

  it('is not in the log when the device closes it', async () => {
    const before = lines().length;
    for (const leave of ['end', 'destroy'] as const) {
      const device = await connectRaw(gateway.broker);
      device.send(named);
      await device.next(2);
      device.socket[leave]();
      await device.closed;
    }
    const device = await connectRaw(gateway.broker);
    device.send(named, Buffer.from('e000', 'hex'));
    await device.closed;
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(lines().slice(before)).toEqual([]);
  });

  it.each<[string, Buffer]>([
    ['it has a wildcard, which only filters for answers of Fleet Provisioning may have', text('devices/#')],
    ['shared subscriptions are not offered: subscribe to the reply topic itself', text('$share/g/cvm/reply/SN-1')],
    ['it is not the reply topic of a serial', text('devices/x')],
    ['it is not the reply topic of a serial: the topic begins with a slash: leave it out', text('/cvm/reply/SN-1')],
    ['a serial has 1 to 128 of the characters A-Z a-z 0-9 : _ -', text('cvm/reply/+')],
    ['the connection speaks for another serial, which its user name named', text('cvm/reply/SN-9')],
  ])('has the subscription that got SUBACK 128 in the log: %s', async (reason, filter) => {
    const device = await connectRaw(gateway.broker);
    device.send(named, packet(0x82, Buffer.from([0, 1]), filter, Buffer.from([1])));
    const { body } = await device.next(9);
    expect(body.at(-1)).toBe(128);
    device.socket.destroy();
    const refused = gateway
      .logText()
      .split('\n')
      .filter((line) => line.includes('refused a subscription'));
    const about = { level: 30, serial: 'SN-1', remoteAddress: '127.0.0.1', reason };
    expect(JSON.parse(refused.at(-1) ?? '')).toMatchObject(about);
  });

  it('says which user name a message of another serial conflicts with', async () => {
    const device = await connectRaw(gateway.broker);
    device.send(named, publishOf(requestTopic('SN-9'), '{}'));
    const { body } = await device.next(3);
    expect(body.toString()).toContain('CONNECT user name');
    device.socket.destroy();
  });
});

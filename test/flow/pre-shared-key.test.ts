import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ackTopic, replyTopic, requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { connectOnce } from '../../runtime/mqtt-connect.ts';
import { connectDevice } from '../support/device.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

const run = promisify(execFile);

describe.skipIf(lacks('redis-server'))('a device that presents its token as a TLS pre-shared key', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
    await gateway.enrolOnRoster('psk-unused');
  });
  afterAll(() => gateway?.close());

  const withKey = (serial: string, psk: Buffer, tls: object) => ({
    pskCallback: () => ({ psk, identity: serial }),
    checkServerIdentity: () => undefined,
    ...tls,
  });

  const ways: [string, object][] = [
    ['TLS 1.3', { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_128_GCM_SHA256' }],
    ['TLS 1.3, with suites that do not fit the key as well', { minVersion: 'TLSv1.3' }],
    ['TLS 1.2, forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-PSK-CHACHA20-POLY1305' }],
    ['TLS 1.2, AES-128-CCM-8 as in RFC 7925', { maxVersion: 'TLSv1.2', ciphers: 'PSK-AES128-CCM8:@SECLEVEL=0' }],
  ];

  it.each(ways)('gets its certificate without sending the token, and acknowledges it: %s', async (_way, tls) => {
    const { serial, token } = await gateway.enrolOnRoster(`psk-${ways.findIndex(([, given]) => given === tls)}`);
    // no CA, no name: the key authenticates both
    const device = await connectDevice(
      { ...gateway.broker, caPem: '' },
      withKey(serial, derivePsk(serial, token), tls),
    );
    await device.client.publishAsync(requestTopic(serial), '{"key":"ec","id":"1"}', { qos: 1 });
    const reply = await device.next();
    expect(reply).toMatchObject({ status: 'accepted', id: '1', thingName: serial });
    expect(reply.privateKey).toContain('PRIVATE KEY');
    await device.client.publishAsync(ackTopic(serial), JSON.stringify({ certificateId: reply.certificateId }), {
      qos: 1,
    });
    await device.client.endAsync(true);
    await expect.poll(async () => (await gateway.registry.find(serial))?.deliveredAt).toBeGreaterThan(0);
  });

  it('speaks for its own serial only, in CONNECT, SUBSCRIBE and PUBLISH', async () => {
    const { serial, token } = await gateway.enrolOnRoster('psk-own');
    const options = withKey(serial, derivePsk(serial, token), {});
    await expect(connectDevice(gateway.broker, { ...options, username: 'psk-other', password: 'x' })).rejects.toThrow();
    const device = await connectDevice(gateway.broker, options);
    await expect(device.client.subscribeAsync(replyTopic('psk-other'), { qos: 1 })).rejects.toThrow();
    await device.client.publishAsync(requestTopic('psk-other'), '{}', { qos: 1 });
    expect(await device.next()).toMatchObject({ status: 'rejected', errorCode: 'Forbidden' });
    await device.client.endAsync(true);
  });

  it('is refused with a wrong key, in the same way as a serial without a key', async () => {
    const { serial } = await gateway.enrolOnRoster('psk-wrong');
    await gateway.enrol('psk-none');
    for (const tls of [{ minVersion: 'TLSv1.3' }, { maxVersion: 'TLSv1.2', ciphers: 'PSK-AES128-GCM-SHA256' }]) {
      const failures = [];
      for (const identity of [serial, 'psk-none', 'psk-unknown']) {
        const connecting = connectOnce({
          host: 'localhost',
          port: gateway.broker.port,
          ca: gateway.broker.caPem,
          ...(withKey(identity, Buffer.alloc(32, 1), tls) as object),
        });
        failures.push(await connecting.then(() => 'connected').catch((error: { code?: string }) => error.code));
      }
      expect(new Set(failures).size).toBe(1);
      expect(failures[0]).not.toBe('connected');
    }
  });

  // the same for a serial that is not known here: the answer tells nothing about keys
  it.each<[string, string, object, RegExp]>([
    [
      'suites that do not fit the key',
      'psk-unused',
      { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_256_GCM_SHA384' },
      /key was not used.*TLS_AES_128_GCM_SHA256/,
    ],
    [
      'the same, of an unknown serial',
      'psk-not-there',
      { minVersion: 'TLSv1.3', ciphers: 'TLS_AES_256_GCM_SHA384' },
      /key was not used.*TLS_AES_128_GCM_SHA256/,
    ],
    [
      'an identity that is no serial',
      'no serial',
      { minVersion: 'TLSv1.3' },
      /key was not used.*identity is no serial/,
    ],
    ['no key', '', {}, /^the request has no token: put it/],
  ])('is told why its key was not used, when it asks without a token: %s', async (_what, identity, tls, message) => {
    const options = identity === '' ? {} : withKey(identity, Buffer.alloc(32, 1), tls);
    const device = await connectDevice(gateway.broker, options);
    await device.client.publishAsync(requestTopic('psk-unused'), '{"key":"ec"}', { qos: 1 });
    const errorMessage = expect.stringMatching(message);
    expect(await device.next()).toMatchObject({ errorCode: 'InvalidToken', errorMessage });
    await device.client.endAsync(true);
  });

  it('is told to connect again when it went by certificate for the sake of a device without a key, and then gets its certificate', async () => {
    const { serial, token } = await gateway.enrolOnRoster('psk-neighbour');
    // OpenSSL makes the same offer for both
    const tls = { maxVersion: 'TLSv1.2', ciphers: 'PSK-AES128-GCM-SHA256:ECDHE-ECDSA-AES128-GCM-SHA256' };
    const keyless = { host: 'localhost', port: gateway.broker.port, pskCallback: () => null, ...tls };
    await expect(connectOnce(keyless as Parameters<typeof connectOnce>[0])).rejects.toThrow();
    const ask = async () => {
      const device = await connectDevice(gateway.broker, withKey(serial, derivePsk(serial, token), tls));
      await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
      const reply = await device.next();
      await device.client.endAsync(true);
      return reply;
    };
    expect(await ask()).toMatchObject({ errorCode: 'InvalidToken', retryAfter: 1 });
    expect(await ask()).toMatchObject({ status: 'accepted' });
  });

  it('has a new key after a reissue, and none once it is removed', async () => {
    const { serial, token } = await gateway.enrolOnRoster('psk-again');
    expect(gateway.broker.roster.keysOf(serial)?.keys.psk).toEqual(derivePsk(serial, token));
    const renewed = await gateway.reissueOnRoster(serial);
    await expect
      .poll(() => gateway.broker.roster.keysOf(serial)?.keys.psk.toString('hex'))
      .toBe(derivePsk(serial, renewed).toString('hex'));
    await gateway.removeAndAnnounce(serial);
    await expect.poll(() => gateway.broker.roster.keysOf(serial)).toBeUndefined();
  });

  it.skipIf(lacks('mosquitto_rr'))('may be mosquitto_pub with --psk', async () => {
    const { serial, token } = await gateway.enrolOnRoster('psk-mosquitto');
    const args = ['-V', 'mqttv311', '-h', 'localhost', '-p', String(gateway.broker.port), '-q', '1'];
    const psk = ['--psk', derivePsk(serial, token).toString('hex'), '--psk-identity', serial];
    const topics = ['-t', requestTopic(serial), '-e', replyTopic(serial), '-m', '{"key":"ec"}'];
    const { stdout } = await run('mosquitto_rr', [...args, ...psk, ...topics], { timeout: 60_000 });
    expect(JSON.parse(stdout)).toMatchObject({ status: 'accepted', thingName: serial });
  });
});

import { connect } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { enrol } from '../../operator/enrol.ts';
import { requestTopic } from '../../protocol/cvm/topics.ts';
import { derivePsk } from '../../protocol/psk.ts';
import { noAudit } from '../../runtime/audit.ts';
import { clientHello } from '../support/client-hello.ts';
import { connectDevice } from '../support/device.ts';
import { expectVerdicts } from '../support/explain.ts';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';
import { opensslClient } from '../support/openssl-client.ts';
import { connectWith } from '../support/raw-mqtt.ts';

describe.skipIf(lacks('redis-server') || lacks('openssl'))('cvm explain names why a device fails at TLS', () => {
  let gateway: Gateway;
  const verdict = expectVerdicts(() => gateway);
  beforeAll(async () => {
    gateway = await startGateway();
    await gateway.enrolOnRoster('TLS-FIRST');
  });
  afterAll(() => gateway?.close());

  const openssl = (...args: string[]) => opensslClient(gateway.broker.port, args);
  const all = ['-cipher', 'ALL:@SECLEVEL=0'];
  const key = (identity: string, psk: Buffer) => ['-psk', psk.toString('hex'), '-psk_identity', identity];

  it('a device that no connection was seen of', async () => {
    await gateway.enrolOnRoster('TLS-NEVER');
    const { verdict: judged } = await verdict('TLS-NEVER', 'never-seen');
    expect(judged.cure).toContain('8883');
  });

  it.each<[string, Parameters<typeof verdict>[1], () => Promise<unknown>]>([
    ['that speaks TLS 1.1 only', 'tls-version', () => openssl('-tls1_1', ...all)],
    [
      'that has no cipher suite of the gateway',
      'no-shared-cipher',
      () => openssl('-tls1_2', '-cipher', 'ECDHE-RSA-AES128-GCM-SHA256'),
    ],
    ['that does not have the site CA', 'untrusted-ca', () => openssl('-verify_return_error')],
    [
      'whose clock shows 1970',
      'clock-1970',
      () => openssl('-CAfile', gateway.broker.caFile, '-attime', '86400', '-verify_return_error'),
    ],
    ['that ends its handshake without a word', 'handshake-ended', () => endedHandshake(gateway.broker.port)],
    ['that speaks MQTT without TLS', 'not-tls', () => plainMqtt(gateway.broker.port)],
  ])('a device %s, although its handshake names no serial', async (_what, id, fail) => {
    const { serial } = await gateway.enrolOnRoster(`TLS-${id}`);
    await fail();
    const { verdict: judged } = await verdict(serial, id);
    expect(judged.cause).toMatch(/named no serial .* from 127\.0\.0\.1/);
  });

  it('a device whose pre-shared key was made of another token', async () => {
    const { serial } = await gateway.enrolOnRoster('PSK-WRONG');
    await openssl('-tls1_3', ...key(serial, Buffer.alloc(32, 1)));
    const { timeline } = await verdict(serial, 'psk-wrong');
    expect(timeline).toMatchObject([
      { part: 'broker', step: 'tls', outcome: 'failed', from: '127.0.0.1', unproven: true },
    ]);
  });

  it('a device whose pre-shared key is not known at this gateway', async () => {
    const serial = 'PSK-UNKNOWN';
    const unsealed = { ...gateway.operator, gateways: async () => [], audit: noAudit };
    await enrol([{ serial }], unsealed);
    await openssl('-tls1_3', ...key(serial, Buffer.alloc(32, 1)));
    const { verdict: judged } = await verdict(serial, 'psk-unknown');
    expect(judged.cure).toContain('cvm devices reissue PSK-UNKNOWN');
  });

  it('a device whose pre-shared key was not used', async () => {
    const { serial, token } = await gateway.enrolOnRoster('PSK-UNUSED');
    const tls: object = {
      minVersion: 'TLSv1.3',
      ciphers: 'TLS_AES_256_GCM_SHA384',
      checkServerIdentity: () => undefined,
    };
    const pskCallback = () => ({ psk: derivePsk(serial, token), identity: serial });
    const device = await connectDevice(gateway.broker, { ...tls, pskCallback });
    await device.client.publishAsync(requestTopic(serial), '{"key":"ec"}', { qos: 1 });
    expect(await device.next()).toMatchObject({ errorCode: 'InvalidToken' });
    await device.client.endAsync(true);
    await verdict(serial, 'psk-unused');
  });
});

/** Begins a TLS handshake, and closes the connection at the first answer. */
function endedHandshake(port: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(clientHello({ suites: [0xc02b] })));
    socket.on('error', () => {}).on('close', () => resolve());
    socket.once('data', () => socket.destroy());
  });
}

/** Sends an MQTT CONNECT without TLS, and waits until the other side has closed. */
function plainMqtt(port: number): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' }, () => socket.write(connectWith('plain')));
    socket.on('error', () => {}).on('close', () => resolve());
    socket.resume();
  });
}

import { type ConnectionOptions, connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Gateway, startGateway } from '../support/gateway.ts';
import { lacks } from '../support/lacks.ts';

describe.skipIf(lacks('redis-server'))('a TLS client', () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway();
  });
  afterAll(() => gateway?.close());

  it.each<[string, object]>([
    ['of TLS 1.1', { minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }],
    ['without forward secrecy', { maxVersion: 'TLSv1.2', ciphers: 'AES128-GCM-SHA256' }],
    [
      'that accepts only SHA-1 signatures',
      { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-GCM-SHA256:@SECLEVEL=0', sigalgs: 'ECDSA+SHA1:RSA+SHA1' },
    ],
    [
      'that knows only short curves',
      { maxVersion: 'TLSv1.2', ecdhCurve: 'P-192:secp224r1', ciphers: 'DEFAULT@SECLEVEL=0' },
    ],
    ['with CBC', { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA' }],
  ])('%s is refused', async (_what, weak) => {
    const { port, caPem: ca } = gateway.broker;
    const socket = connect({ host: '127.0.0.1', port, servername: 'localhost', ca, ...weak });
    await expect(
      new Promise((resolve, reject) => socket.once('secureConnect', resolve).once('error', reject)),
    ).rejects.toThrow();
  });

  it('of old firmware connects where the operator allows its suites, as all others still do; TLS 1.1 never connects', async () => {
    const lenient = await startGateway({ suites: 'old' });
    const { port, caPem: ca } = lenient.broker;
    const base = { host: '127.0.0.1', port, servername: 'localhost', ca };
    const old = { maxVersion: 'TLSv1.2', ciphers: 'ECDHE-ECDSA-AES128-SHA256' } as const;
    expect(await suiteOf({ ...base, ...old })).toBe('ECDHE-ECDSA-AES128-SHA256');
    expect(await suiteOf(base)).toMatch(/^TLS_/);
    await expect(
      suiteOf({ ...base, minVersion: 'TLSv1', maxVersion: 'TLSv1.1', ciphers: 'DEFAULT@SECLEVEL=0' }),
    ).rejects.toThrow();
    await lenient.close();
  });
});

function suiteOf(options: ConnectionOptions): Promise<string> {
  const socket = connect(options);
  return new Promise((resolve, reject) => {
    socket.once('error', reject).once('secureConnect', () => {
      resolve(socket.getCipher().name);
      socket.destroy();
    });
  });
}

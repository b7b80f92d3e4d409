import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chosenFor, groups } from '../support/client-hello.ts';
import { lacks } from '../support/lacks.ts';
import { opensslClient } from '../support/openssl-client.ts';
import { keyed, startTlsListener, type TlsListener } from '../support/tls-listener.ts';

/** Numbers of suites as IANA gives them. */
const suite = {
  ecdheEcdsaAes128Gcm: 0xc02b,
  ecdheEcdsaAes256Gcm: 0xc02c,
  ecdheRsaAes128Gcm: 0xc02f,
  ecdheEcdsaChacha: 0xcca9,
  ecdheEcdsaCcm: 0xc0ac,
  ecdheEcdsaCcm8: 0xc0ae,
  ecdheEcdsaAes128Cbc: 0xc023,
  ecdhePskChacha: 0xccac,
  ecdhePskAes128Cbc: 0xc037,
  pskAes128Gcm: 0x00a8,
  pskAes256Gcm: 0x00a9,
  pskChacha: 0xccab,
  pskCcm: 0xc0a4,
  pskCcm8: 0xc0a8,
};

/** What each offers when it has a key, in its order, without the suites that no server of ours knows. */
const mbedTls = {
  byCertificate: [
    ...[suite.ecdheEcdsaChacha, suite.ecdheEcdsaAes256Gcm, suite.ecdheEcdsaAes128Gcm, suite.ecdheEcdsaCcm],
    ...[suite.ecdheEcdsaAes128Cbc, suite.ecdheEcdsaCcm8],
  ],
  byKey: [
    ...[suite.ecdhePskChacha, suite.ecdhePskAes128Cbc],
    ...[suite.pskChacha, suite.pskAes256Gcm, suite.pskAes128Gcm, suite.pskCcm, suite.pskCcm8],
  ],
};
const wolfSsl = {
  byCertificate: [
    ...[suite.ecdheEcdsaAes256Gcm, suite.ecdheEcdsaAes128Gcm, suite.ecdheRsaAes128Gcm, suite.ecdheEcdsaChacha],
    ...[suite.ecdheEcdsaAes128Cbc, suite.ecdheEcdsaCcm, suite.ecdheEcdsaCcm8],
  ],
  byKey: [suite.pskCcm, suite.pskChacha, suite.ecdhePskChacha, suite.ecdhePskAes128Cbc],
};
const clients = [
  ['mbedTLS', mbedTls],
  ['wolfSSL', wolfSsl],
] as const;

describe('the suite that a client gets', () => {
  let listener: TlsListener;
  beforeAll(async () => {
    listener = await startTlsListener();
  });
  afterAll(() => listener?.close());

  it.each(clients)(
    'uses its key, with forward secrecy, although it offers certificate suites first: %s, TLS 1.2',
    async (_who, { byCertificate, byKey }) => {
      const { suite: chosen } = await chosenFor(listener.port, { suites: [...byCertificate, ...byKey] });
      expect(chosen).toBe(suite.ecdhePskChacha);
    },
  );

  it.each(Object.entries(suite).filter(([name]) => /^(ecdhe)?psk/i.test(name) && !name.endsWith('Cbc')))(
    'uses its key, whichever suite by key it has beside those by certificate: %s',
    async (_name, only) => {
      const suites = [...mbedTls.byCertificate, only];
      expect((await chosenFor(listener.port, { suites })).suite).toBe(only);
    },
  );

  it.each(clients)('goes by certificate when it offers none by key: %s', async (_who, { byCertificate }) => {
    const { suite: chosen } = await chosenFor(listener.port, { suites: byCertificate });
    expect(chosen).toBe(suite.ecdheEcdsaAes128Gcm);
  });

  it.each([
    ['by key', suite.ecdhePskChacha],
    ['by certificate', suite.ecdheEcdsaAes128Gcm],
  ])("exchanges keys on P-256, which wolfSSL's client needs, although it prefers X25519: %s", async (_how, only) => {
    const [p256First, x25519First] = [groups.p256, groups.x25519].map((first) => [
      first,
      ...Object.values(groups).filter((group) => group !== first),
    ]);
    for (const offered of [x25519First, p256First])
      expect(await chosenFor(listener.port, { suites: [only], groups: offered ?? [] })).toMatchObject({
        suite: only,
        group: groups.p256,
      });
  });

  it('exchanges keys on X25519 where it knows nothing else', async () => {
    const hello = { suites: [suite.ecdhePskChacha], groups: [groups.x25519] };
    expect((await chosenFor(listener.port, hello)).group).toBe(groups.x25519);
  });

  it('is one by certificate where it has ended the handshake because it has no key, once, at its address, for its offer', async () => {
    const [address, suites] = ['127.0.0.5', [...wolfSsl.byCertificate, ...wolfSsl.byKey]];
    const chosen = async (offer: readonly number[], from: string) =>
      (await chosenFor(listener.port, { suites: offer }, from)).suite;
    const noted = () => listener.failed.filter(({ reason }) => /seems to have no key/.test(reason)).length;
    const before = noted();
    expect(await chosen(suites, address)).toBe(suite.ecdhePskChacha);
    await expect.poll(noted).toBe(before + 1);
    expect(await chosen(suites, '127.0.0.6')).toBe(suite.ecdhePskChacha);
    expect(await chosen([...suites].reverse(), address)).toBe(suite.ecdhePskChacha);
    expect(await chosen(suites, address)).toBe(suite.ecdheEcdsaAes128Gcm);
    expect(await chosen(suites, address)).toBe(suite.ecdhePskChacha);
  });

  it.each([[[1, 4]], [[3, 60]], [[5]], [[100]]])(
    'is the same when the ClientHello comes in segments, cut at %j',
    async (cuts) => {
      const [address, suites] = [`127.0.1.${cuts[0]}`, [...wolfSsl.byCertificate, ...wolfSsl.byKey]];
      const chosen = async () => (await chosenFor(listener.port, { suites }, address, cuts)).suite;
      const noted = () => listener.failed.filter(({ remoteAddress }) => remoteAddress === address).length;
      expect(await chosen()).toBe(suite.ecdhePskChacha);
      await expect.poll(noted).toBe(1);
      expect(await chosen()).toBe(suite.ecdheEcdsaAes128Gcm);
    },
  );

  it('is one by key for a device whose key was wrong: it has one', async () => {
    const wrong = { pskCallback: () => ({ psk: Buffer.alloc(32, 1), identity: keyed.serial }) };
    const options = {
      ...wrong,
      maxVersion: 'TLSv1.2',
      ciphers: 'ALL:@SECLEVEL=0',
      checkServerIdentity: () => undefined,
    };
    const once = () =>
      new Promise((resolve) => {
        const socket = connect({
          port: listener.port,
          host: '127.0.0.1',
          localAddress: '127.0.0.7',
          ...options,
        } as object);
        socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code));
        socket.once('secureConnect', () => resolve('connected'));
      });
    for (let count = 0; count < 3; count++) expect(await once()).toMatch(/BAD_RECORD_MAC/);
  });

  /** OpenSSL makes them in TLS 1.3 also after a handshake by key, and Node.js has no setting against it. */
  it('gets a session ticket after a pre-shared key that resumes nothing, as docs/protocol.md says', async () => {
    const to = { port: listener.port, rejectUnauthorized: false, minVersion: 'TLSv1.3' as const };
    const pskCallback = () => ({ psk: Buffer.from(keyed.psk), identity: keyed.serial });
    const tickets: Buffer[] = [];
    const first = connect({ ...to, pskCallback, checkServerIdentity: () => undefined }).on('error', () => {});
    first.on('session', (ticket) => tickets.push(ticket));
    await expect.poll(() => tickets.length).toBe(1);
    first.destroy();
    const again = connect({ ...to, session: tickets[0] }).on('error', () => {});
    await new Promise((resolve) => again.once('secureConnect', resolve));
    expect(again.isSessionReused()).toBe(false);
    again.destroy();
    const page = readFileSync(join(import.meta.dirname, '../../docs/protocol.md'), 'utf8');
    expect(page).toContain('one after a pre-shared key');
  });

  describe.skipIf(lacks('openssl'))('of OpenSSL', () => {
    const key = ['-psk', keyed.psk.toString('hex'), '-psk_identity', keyed.serial];
    const all = ['-tls1_2', '-cipher', 'ALL:@SECLEVEL=0'];

    it.each<[string, string[], RegExp]>([
      [
        'by key in TLS 1.2, with all its suites',
        [...all, ...key],
        /New, TLSv1\.2, Cipher is ECDHE-PSK-CHACHA20-POLY1305/,
      ],
      ['by certificate in TLS 1.2, with all its suites and no key', all, /New, TLSv1\.2, Cipher is ECDHE-ECDSA-/],
      ['by key in TLS 1.3', key, /Reused, TLSv1\.3, Cipher is TLS_AES_128_GCM_SHA256/],
      [
        'by key in TLS 1.3, although its first suite does not fit the key',
        ['-ciphersuites', 'TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256', ...key],
        /Reused, TLSv1\.3, Cipher is TLS_CHACHA20_POLY1305_SHA256/,
      ],
      ['without ALPN, although it offers some', ['-alpn', 'mqtt'], /No ALPN negotiated/],
      ['by certificate in TLS 1.3 without a key', [], /New, TLSv1\.3, Cipher is TLS_AES_128_GCM_SHA256/],
    ])('goes %s', async (_how, args, expected) => {
      expect(await opensslClient(listener.port, args)).toMatch(expected);
    });
  });
});

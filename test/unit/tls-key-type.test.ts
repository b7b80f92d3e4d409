import { execFileSync } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { ServedKeyTypes } from '../../site-tls/key-type.ts';
import { chainsOf, type TlsMaterial } from '../../site-tls/material.ts';
import { beginRotation, cancelRotation, finishRotation } from '../../site-tls/rotation.ts';
import { loadTlsMaterial, readTlsMaterial, renewTlsMaterial } from '../../site-tls/site-ca.ts';
import { chosenFor } from '../support/client-hello.ts';
import { lacks } from '../support/lacks.ts';
import { opensslClient } from '../support/openssl-client.ts';
import { startTlsListener, type TlsListener } from '../support/tls-listener.ts';

describe('the key type of the server certificate', () => {
  /** A folder with both, which is copied: RSA keys take long to make. */
  const made = mkdtempSync(join(tmpdir(), 'cvm-key-types-'));
  let dataDir: string;
  const optionsOf = (keyType: ServedKeyTypes) => ({ dataDir, hostnames: [], machineName: 'box', keyType });
  const load = (keyType: ServedKeyTypes) => loadTlsMaterial(optionsOf(keyType));
  const [fingerprints, cas, pins] = [
    (material: TlsMaterial) => chainsOf(material).map(({ fingerprint }) => fingerprint),
    (material: TlsMaterial) => chainsOf(material).map(({ caFingerprint }) => caFingerprint),
    (material: TlsMaterial) => chainsOf(material).map(({ spkiPin }) => spkiPin),
  ];
  /** Whether a device that was given this CA file trusts the chain. */
  const trusts = (caPem = '', cert = ''): boolean => {
    const [ca, server] = ['given.pem', 'seen.pem'].map((name) => join(dataDir, name));
    writeFileSync(ca ?? '', caPem);
    writeFileSync(server ?? '', cert);
    const args = ['verify', '-x509_strict', '-purpose', 'sslserver', '-CAfile', ca ?? '', server ?? ''];
    try {
      return execFileSync('openssl', args, { stdio: 'pipe' }).toString().includes('OK');
    } catch {
      return false;
    }
  };

  beforeAll(() => loadTlsMaterial({ ...optionsOf('both'), dataDir: made }));
  afterAll(() => rmSync(made, { recursive: true, force: true }));
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-key-type-'));
    cpSync(made, dataDir, { recursive: true });
  });
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

  it('rsa has RSA keys and PKCS #1 signatures only, which firmware without elliptic curves verifies', async () => {
    const { cert, caPem = '', caFile } = await load('rsa');
    for (const pem of [cert, caPem]) {
      const { publicKey } = new X509Certificate(pem);
      expect(publicKey.asymmetricKeyDetails).toMatchObject({ modulusLength: 2048, publicExponent: 65537n });
      const text = execFileSync('openssl', ['x509', '-noout', '-text'], { input: pem }).toString();
      expect(text).toContain('Signature Algorithm: sha256WithRSAEncryption');
    }
    const usage = execFileSync('openssl', ['x509', '-noout', '-ext', 'keyUsage'], { input: cert }).toString();
    expect(usage).toContain('Digital Signature, Key Encipherment');
    expect(trusts(caPem, cert)).toBe(true);
    expect(caFile).toBe(join(dataDir, 'tls', 'site-ca-rsa.crt'));
  });

  it('both has two chains, each with a CA of its own and the same names', async () => {
    const { beside, ...first } = await load('both');
    expect([first.keyType, beside?.keyType]).toEqual(['ec', 'rsa']);
    expect(beside?.names).toEqual(first.names);
    expect(trusts(first.caPem, first.cert)).toBe(true);
    expect(trusts(beside?.caPem, beside?.cert)).toBe(true);
    expect(trusts(first.caPem, beside?.cert)).toBe(false);
    for (const name of readdirSync(join(dataDir, 'tls')).filter((file) => file.endsWith('.key')))
      expect(statSync(join(dataDir, 'tls', name)).mode & 0o777).toBe(0o600);
  });

  it('may be switched: what exists is kept, and only what is missing is made', async () => {
    for (const name of readdirSync(join(dataDir, 'tls'))) if (name.includes('-rsa')) rmSync(join(dataDir, 'tls', name));
    const [ec] = fingerprints(await load('ec'));
    expect(readdirSync(join(dataDir, 'tls')).filter((name) => name.includes('-rsa'))).toEqual([]);
    const both = await load('both');
    expect(both).toMatchObject({ origin: 'new', fingerprint: ec });
    const rsa = both.beside?.fingerprint;
    expect(await load('rsa')).toMatchObject({ origin: 'kept', fingerprint: rsa });
    expect(await load('ec')).toMatchObject({ origin: 'kept', fingerprint: ec });
    expect(fingerprints(await load('both'))).toEqual([ec, rsa]);
  });

  it('both is shown as far as it exists, before the broker has made the rest', async () => {
    for (const name of readdirSync(join(dataDir, 'tls'))) if (name.includes('-rsa')) rmSync(join(dataDir, 'tls', name));
    expect(chainsOf(readTlsMaterial(optionsOf('both'))).map(({ keyType }) => keyType)).toEqual(['ec']);
    expect(() => readTlsMaterial(optionsOf('rsa'))).toThrow(/no .*server-rsa\.crt yet; the broker makes it/);
  });

  it.each<ServedKeyTypes>(['rsa', 'both'])('%s is renewed for the same keys and CAs', async (keyType) => {
    const before = await load(keyType);
    const after = await renewTlsMaterial(optionsOf(keyType));
    expect([pins(after), cas(after)]).toEqual([pins(before), cas(before)]);
    expect(fingerprints(after).some((each) => fingerprints(before).includes(each))).toBe(false);
    expect(fingerprints(await load(keyType))).toEqual(fingerprints(after));
  });

  it.each<ServedKeyTypes>(['rsa', 'both'])('%s goes through a rotation of its CAs', async (keyType) => {
    const before = await load(keyType);
    const during = await beginRotation(optionsOf(keyType));
    expect(cas(during)).toEqual(cas(before));
    const after = await finishRotation(optionsOf(keyType));
    expect(cas(after)).toEqual(chainsOf(during).map(({ nextCaFingerprint }) => nextCaFingerprint));
    expect(pins(after)).toEqual(pins(before));
    for (const [index, { cert, caPem, keyType: type }] of chainsOf(after).entries()) {
      expect(new X509Certificate(caPem ?? '').publicKey.asymmetricKeyType).toBe(type);
      const given = [chainsOf(before)[index]?.caPem, chainsOf(during)[index]?.caPem, caPem];
      expect(given.map((pem) => trusts(pem, cert))).toEqual([false, true, true]);
    }
    await expect(finishRotation(optionsOf(keyType))).rejects.toThrow(/no rotation/);
    await beginRotation(optionsOf(keyType));
    expect(cas(await cancelRotation(optionsOf(keyType)))).toEqual(cas(after));
  });

  it('both ends a rotation that a killed process ended for one of the two only', async () => {
    await load('both');
    const { nextCaFingerprint, beside } = await beginRotation(optionsOf('both'));
    const [next, used] = ['next-ca.key', 'site-ca.key'].map((name) => join(dataDir, 'tls', name));
    copyFileSync(next ?? '', used ?? '');
    const after = await finishRotation(optionsOf('both'));
    expect(cas(after)).toEqual([nextCaFingerprint, beside?.nextCaFingerprint]);
    expect(readdirSync(join(dataDir, 'tls')).filter((name) => name.startsWith('next'))).toEqual([]);
  });

  it('keeps a rotation of the other one for when that is served again', async () => {
    const before = await load('rsa');
    const { nextCaFingerprint } = await beginRotation(optionsOf('rsa'));
    await expect(finishRotation(optionsOf('ec'))).rejects.toThrow(/no rotation/);
    expect(existsSync(join(dataDir, 'tls', 'next-ca-rsa.crt'))).toBe(true);
    expect(await load('rsa')).toMatchObject({ caFingerprint: before.caFingerprint, nextCaFingerprint });
  });
});

describe.each([
  ['ec', 0xc02b, [500, 600]],
  ['rsa', 0xc02f, [900, 1000]],
] as const)('what the server sends, as docs/protocol.md has it: %s', (keyType, suite, [least, most]) => {
  let listener: TlsListener;
  beforeAll(async () => {
    listener = await startTlsListener({ keyType });
  });
  afterAll(() => listener?.close());

  it('is its certificate alone, and small', async () => {
    const { certificateBytes } = await chosenFor(listener.port, { suites: [suite] });
    expect(certificateBytes).toEqual([new X509Certificate(listener.tls.cert).raw.length]);
    expect(certificateBytes[0]).toBeGreaterThan(least);
    expect(certificateBytes[0]).toBeLessThan(most);
  });

  it('is in records as short as the client asks', async () => {
    const longest = async (maxFragment?: number) =>
      Math.max(
        ...(await chosenFor(listener.port, { suites: [suite], ...(maxFragment && { maxFragment }) })).recordBytes,
      );
    expect(await longest()).toBeGreaterThan(512);
    expect(await longest(1)).toBeLessThanOrEqual(512);
    // the certificate whole, for stacks that cannot read one that is split
    expect(await longest(2)).toBe(await longest());
  });
});

describe.skipIf(lacks('openssl'))('a client without elliptic curves in certificates', () => {
  const listeners = new Map<string, TlsListener>();
  const listenerOf = (name: string) => {
    const listener = listeners.get(name);
    if (listener === undefined) throw new Error(`no listener ${name}`);
    return listener;
  };
  beforeAll(async () => {
    listeners.set('rsa', await startTlsListener({ keyType: 'rsa' }));
    listeners.set('both', await startTlsListener({ keyType: 'both' }));
    listeners.set('both, old suites', await startTlsListener({ keyType: 'both', suites: 'old' }));
  });
  afterAll(async () => {
    for (const listener of listeners.values()) await listener.close();
  });

  const tls12 = (cipher: string) => ['-tls1_2', '-cipher', cipher];
  it.each([
    ['rsa', 'TLS 1.2', tls12('ECDHE-RSA-AES128-GCM-SHA256'), 'ECDHE-RSA-AES128-GCM-SHA256'],
    ['both', 'TLS 1.2', tls12('ECDHE-RSA-AES128-GCM-SHA256'), 'ECDHE-RSA-AES128-GCM-SHA256'],
    ['both', 'TLS 1.3', ['-tls1_3', '-sigalgs', 'RSA-PSS+SHA256:RSA+SHA256'], 'TLS_AES_128_GCM_SHA256'],
    ['both, old suites', 'CBC', tls12('ECDHE-RSA-AES128-SHA256'), 'ECDHE-RSA-AES128-SHA256'],
    ['both, old suites', 'RSA key exchange', tls12('AES128-SHA256'), 'AES128-SHA256'],
    ['both, old suites', 'RSA key exchange, SHA-1', tls12('AES128-SHA:@SECLEVEL=0'), 'AES128-SHA'],
  ])('gets the RSA chain, and verifies it by the RSA site CA: %s, %s', async (name, _version, args, suite) => {
    const { port, tls } = listenerOf(name);
    const caFile = chainsOf(tls).find(({ keyType }) => keyType === 'rsa')?.caFile ?? '';
    const verify = ['-CAfile', caFile, '-verify_return_error', '-verify_hostname', 'gateway.example'];
    const printed = await opensslClient(port, [...args, ...verify]);
    expect(printed).toContain(`Cipher is ${suite}`);
    expect(printed).toContain('Verification: OK');
  });

  it('is refused where only P-256 is served, and RSA key exchange where only modern suites are', async () => {
    const ec = await startTlsListener();
    await expect(chosenFor(ec.port, { suites: [0xc02f] })).rejects.toThrow('alert 40');
    await ec.close();
    await expect(chosenFor(listenerOf('both').port, { suites: [0x009c] })).rejects.toThrow('alert 40');
  });

  it.each([
    ['TLS 1.2', ['-tls1_2']],
    ['TLS 1.3', ['-tls1_3']],
  ])('is the only one that gets it: others get P-256, where both are served: %s', async (_version, args) => {
    const { port, tls } = listenerOf('both');
    const printed = await opensslClient(port, [...args, '-CAfile', tls.caFile ?? '', '-verify_return_error']);
    expect(printed).toContain('Verification: OK');
    expect(printed).toContain('Peer signature type: ECDSA');
  });

  it('gets each chain as it is renewed, while the listener runs', async () => {
    const { port, tls, useTls } = listenerOf('both');
    useTls({ ...tls, ...(tls.beside && { beside: { key: tls.key, cert: tls.cert } }) });
    await expect(chosenFor(port, { suites: [0xc02f] })).rejects.toThrow('alert 40');
    useTls(tls);
    expect((await chosenFor(port, { suites: [0xc02f] })).suite).toBe(0xc02f);
  });
});

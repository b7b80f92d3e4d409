import { spawnSync } from 'node:child_process';
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { Pkcs10CertificateRequest } from '../../runtime/x509.ts';
import { makeEcKey as makeTaggedKey, ownerTagOf } from '../../worker/ec-key.ts';
import { lacks } from '../support/lacks.ts';

const makeEcKey = (serial: string) => makeTaggedKey(serial, ownerTagOf('cvm-devices'));
const serials = ['AA:BB:CC:DD:EE:FF', 'plain-1', 'under_score', '-', ':', '0', 'a'.repeat(128)];

describe('EC key', () => {
  it('is P-256 in PKCS#8, and its CSR is for the same key', async () => {
    const { privateKeyPem, csrPem, keyDigest } = makeEcKey('S-1');
    expect(privateKeyPem).toMatch(/^-----BEGIN PRIVATE KEY-----\n/);
    const key = createPrivateKey(privateKeyPem);
    expect(key.asymmetricKeyDetails?.namedCurve).toBe('prime256v1');
    const spki = createPublicKey(key).export({ format: 'der', type: 'spki' });
    expect(Buffer.from(new Pkcs10CertificateRequest(csrPem).publicKey.rawData)).toEqual(spki);
    expect(keyDigest).toBe(createHash('sha256').update(spki).digest('hex'));
  });

  it.each(serials)('has a signed CSR whose subject is exactly the owner tag and the serial %s', async (serial) => {
    const csr = new Pkcs10CertificateRequest(makeEcKey(serial).csrPem);
    expect(await csr.verify()).toBe(true);
    expect(csr.subjectName.toJSON()).toEqual([{ O: ['cvm-gateway'] }, { OU: ['cvm-devices'] }, { CN: [serial] }]);
  });

  it('has the owner tag of its table within 64 characters, also for longer names', () => {
    expect(ownerTagOf('t'.repeat(255)).unit).toHaveLength(64);
    expect(ownerTagOf('t'.repeat(254)).unit).not.toBe(ownerTagOf('t'.repeat(255)).unit);
  });

  it('is a new key each time', async () => {
    const [one, other] = [makeEcKey('S'), makeEcKey('S')];
    expect(one.privateKeyPem).not.toBe(other.privateKeyPem);
  });

  it.skipIf(lacks('openssl'))('is a CSR and a key that OpenSSL reads', async () => {
    const { privateKeyPem, csrPem } = makeEcKey('AA:BB');
    const openssl = (argv: string[], input: string) => {
      const { stdout, stderr, status } = spawnSync('openssl', argv, { input, encoding: 'utf8' });
      return { said: stdout + stderr, status };
    };
    const request = openssl(['req', '-verify', '-noout', '-subject'], csrPem);
    expect(request).toMatchObject({ status: 0, said: expect.stringMatching(/verify OK/) });
    expect(request.said).toMatch(/CN ?= ?AA:BB\s/);
    expect(openssl(['pkey', '-noout', '-check'], privateKeyPem)).toMatchObject({ status: 0 });
  });
});

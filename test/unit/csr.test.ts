import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkCsr } from '../../broker/csr.ts';

describe('a CSR', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-csr-'));
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));

  const make = (algorithm: string[], digest = 'sha256') => {
    const key = join(folder, 'key');
    execFileSync('openssl', ['genpkey', ...algorithm, '-out', key], { stdio: 'pipe' });
    return execFileSync('openssl', ['req', '-new', '-key', key, '-subj', '/CN=SN', `-${digest}`], {
      stdio: 'pipe',
    }).toString();
  };
  const rsa = (bits: number, ...more: string[]) => [
    '-algorithm',
    'RSA',
    '-pkeyopt',
    `rsa_keygen_bits:${bits}`,
    ...more,
  ];
  const ec = (curve: string) => ['-algorithm', 'EC', '-pkeyopt', `ec_paramgen_curve:${curve}`];
  const base64 = (pem: string) => pem.replace(/-----[A-Z ]+-----|\s/g, '');

  it.each([
    ['RSA-2048', rsa(2048)],
    ['RSA-3072', rsa(3072)],
    ['P-256', ec('P-256')],
    ['P-384', ec('P-384')],
  ])('with a key of %s is taken', async (_name, algorithm) =>
    expect(await checkCsr(make(algorithm))).toMatchObject({ ok: true }),
  );

  it('gives the same PEM, whether it was sent as PEM or as base64 of the DER', async () => {
    const pem = make(ec('P-256'));
    const checked = await checkCsr(pem);
    expect(await checkCsr(base64(pem))).toEqual(checked);
    expect(await checkCsr(pem.replaceAll('\n', '\r\n'))).toEqual(checked);
  });

  it.each([
    ['an RSA key of 1024 bits', () => make(rsa(1024)), /1024 bits/],
    ['a public exponent of 3', () => make(rsa(2048, '-pkeyopt', 'rsa_keygen_pubexp:3')), /65537/],
    ['another curve', () => make(ec('secp256k1')), /curve/],
    ['an Ed25519 key', () => make(['-algorithm', 'ED25519']), /ed25519/],
    ['a SHA-1 signature', () => make(ec('P-256'), 'sha1'), /SHA-256/],
    ['junk', () => 'junk!', /base64/],
    ['nothing', () => '', /./],
    ['text after it', () => `${make(ec('P-256'))}more`, /one PEM block/],
    [
      'a PEM block of another type',
      () => make(ec('P-256')).replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'),
      /PEM block/,
    ],
    ['5000 characters', () => 'A'.repeat(5000), /4096/],
    ['valid DER that is no CSR', () => Buffer.from('3003020101', 'hex').toString('base64'), /PKCS#10/],
  ])('with %s is refused, and the device is told why', async (_name, csr, reason) => {
    const checked = await checkCsr(csr());
    expect(checked).toMatchObject({
      ok: false,
      problem: { code: 'InvalidCsr', message: expect.stringMatching(reason) },
    });
  });

  it('whose signature was tampered with is refused', async () => {
    const der = Buffer.from(base64(make(ec('P-256'))), 'base64');
    der[der.length - 3] = (der.at(-3) ?? 0) ^ 1;
    expect(await checkCsr(der.toString('base64'))).toMatchObject({ ok: false });
  });

  it('never makes the check throw, whatever byte is changed', async () => {
    const der = Buffer.from(base64(make(ec('P-256'))), 'base64');
    for (let index = 0; index < der.length; index++) {
      const changed = Buffer.from(der);
      changed[index] = (changed[index] ?? 0) ^ 0x55;
      expect(await checkCsr(changed.toString('base64'))).toMatchObject({ ok: false });
    }
  });
});

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
    expect(checkCsr(make(algorithm))).toMatchObject({ ok: true }),
  );

  it('gives the same PEM, whether it was sent as PEM or as base64 of the DER', async () => {
    const pem = make(ec('P-256'));
    const checked = checkCsr(pem);
    expect(checkCsr(base64(pem))).toEqual(checked);
    expect(checkCsr(pem.replaceAll('\n', '\r\n'))).toEqual(checked);
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
      'a certificate in its place',
      () => make(ec('P-256')).replaceAll('CERTIFICATE REQUEST', 'CERTIFICATE'),
      /is a certificate/,
    ],
    ['5000 characters', () => 'A'.repeat(5000), /4096/],
    ['valid DER that is no CSR', () => Buffer.from('3003020101', 'hex').toString('base64'), /PKCS#10/],
  ])('with %s is refused, and the device is told why', async (_name, csr, reason) => {
    const checked = checkCsr(csr());
    expect(checked).toMatchObject({
      ok: false,
      problem: { code: 'InvalidCsr', message: expect.stringMatching(reason) },
    });
  });

  it.each<[string, (pem: string) => string]>([
    ['literal \\n in place of line ends', (pem) => pem.replaceAll('\n', '\\n')],
    ['literal \\r\\n in place of line ends', (pem) => pem.replaceAll('\n', '\\r\\n')],
    ['no line ends at all', (pem) => pem.replaceAll('\n', '')],
    ['spaces in place of line ends', (pem) => pem.replaceAll('\n', ' ')],
    [
      'the text of openssl -text before it',
      (pem) => `Certificate Request:\n    Data:\n        Version: 1 (0x0)\n${pem}`,
    ],
    ['a NUL at its end', (pem) => `${pem}\0`],
    ['the label of old Netscape practice', (pem) => pem.replaceAll('CERTIFICATE REQUEST', 'NEW CERTIFICATE REQUEST')],
    ['base64 without its padding', (pem) => base64(pem).replace(/=+$/, '')],
    ['base64 in lines', (pem) => base64(pem).replace(/.{64}/g, '$&\r\n')],
  ])('with damage that leaves no doubt is taken: %s', async (_what, damage) => {
    const pem = make(ec('P-384'));
    expect(checkCsr(damage(pem))).toEqual(checkCsr(pem));
  });

  const der = (...command: string[]) =>
    execFileSync('openssl', command, { cwd: folder, stdio: 'pipe' }).toString('base64');

  it.each<[string, (pem: string) => string, RegExp]>([
    ['without its end', (pem) => pem.slice(0, 300), /cut off: it has no line -----END/],
    ['without its beginning', (pem) => pem.slice(40), /has no line -----BEGIN/],
    [
      'cut in the middle',
      (pem) => pem.replace(/.{64}\n(?=.*\n-----END)/, ''),
      /cut off: its DER has \d+ bytes, and \d+ are there/,
    ],
    ['as base64 that is cut', (pem) => base64(pem).slice(0, 200), /cut off: its DER has/],
    [
      'in base64url',
      (pem) =>
        base64(pem)
          .replaceAll('+', '-')
          .replaceAll('/', '_')
          .replace(/=+$/, '')
          .replace(/^(.{20})./, '$1_'),
      /base64url/,
    ],
    ['twice', (pem) => pem + pem, /there are 2/],
    ['of which BEGIN and END differ', (pem) => pem.replace('BEGIN CERT', 'BEGIN NEW CERT'), /differ/],
    [
      'with a private key beside it',
      (pem) => `-----BEGIN EC PRIVATE KEY-----\nMHc=\n-----END EC PRIVATE KEY-----\n${pem}`,
      /is a private key, which must never leave/,
    ],
    ['that is a public key', () => '-----BEGIN PUBLIC KEY-----\nMFk=\n-----END PUBLIC KEY-----', /is a public key/],
    [
      'that is a private key in DER',
      () => der('pkcs8', '-topk8', '-nocrypt', '-in', 'key', '-outform', 'DER'),
      /is a private key/,
    ],
    ['that is a public key in DER', () => der('pkey', '-in', 'key', '-pubout', '-outform', 'DER'), /is a public key/],
    [
      'that is a certificate in DER',
      () => der('req', '-new', '-x509', '-key', 'key', '-subj', '/CN=SN', '-outform', 'DER'),
      /is a certificate/,
    ],
    ['of spaces', () => ' \n', /is empty/],
    ['with other text in base64', () => 'aGVsbG8=', /not DER/],
  ])('%s is named as such', async (_what, damage, reason) => {
    expect(checkCsr(damage(make(ec('P-256'))))).toMatchObject({
      problem: { message: expect.stringMatching(reason) },
    });
  });

  it('whose signature was tampered with is refused', async () => {
    const der = Buffer.from(base64(make(ec('P-256'))), 'base64');
    der[der.length - 3] = (der.at(-3) ?? 0) ^ 1;
    expect(checkCsr(der.toString('base64'))).toMatchObject({ ok: false });
  });

  it('never makes the check throw, whatever byte is changed', async () => {
    const der = Buffer.from(base64(make(ec('P-256'))), 'base64');
    for (let index = 0; index < der.length; index++) {
      const changed = Buffer.from(der);
      changed[index] = (changed[index] ?? 0) ^ 0x55;
      expect(checkCsr(changed.toString('base64'))).toMatchObject({ ok: false });
    }
  });
});

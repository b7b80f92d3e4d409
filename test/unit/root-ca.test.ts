import { createHash, generateKeyPairSync, X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { afterAll, describe, expect, it } from 'vitest';
import { amazonRootCa, isAmazonRoot } from '../../issuer/root-ca.ts';

const folder = mkdtempSync(join(tmpdir(), 'cvm-root-ca-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(name: string, content: string | Buffer): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

describe("a root CA of Amazon's", () => {
  it('is each that Node.js ships, and no other', () => {
    const isAmazon = (pem: string, index: number) => isAmazonRoot(file(`${index}.pem`, pem));
    const found = rootCertificates.filter(isAmazon).map((pem) => /CN=(.*)/.exec(new X509Certificate(pem).subject)?.[1]);
    expect(found.sort()).toEqual([
      ...[1, 2, 3, 4].map((number) => `Amazon Root CA ${number}`),
      'Starfield Services Root Certificate Authority - G2',
    ]);
  });

  it('cannot be told from a file that has none', () => {
    expect(isAmazonRoot(join(folder, 'missing.pem'))).toBeUndefined();
  });
});

describe('root CA', () => {
  it('is Amazon Root CA 1, without a download', () => {
    const certificate = new X509Certificate(amazonRootCa());
    expect(certificate.subject).toContain('CN=Amazon Root CA 1');
    expect(certificate.ca).toBe(true);
    expect(createHash('sha256').update(certificate.raw).digest('hex')).toBe(
      '8ecde6884f3d87b1125ba31ac3fcb13d7016de7f57cc904fe1cb97c6ae98196e',
    );
  });

  it('is the certificate in a file, when one is named', () => {
    const path = file('own.pem', `# our own root\r\n${amazonRootCa().replaceAll('\n', '\r\n')}`);
    expect(amazonRootCa(path)).toBe(amazonRootCa());
  });

  it('leaves out other text in the file, such as a private key', () => {
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    const key = privateKey.export({ format: 'pem', type: 'pkcs8' }).toString();
    expect(amazonRootCa(file('with-key.pem', `${key}${amazonRootCa()}`))).toBe(amazonRootCa());
  });

  it.each([
    ['a missing file', () => join(folder, 'missing.pem'), /missing\.pem cannot be read: ENOENT/],
    ['an empty file', () => file('empty.pem', ''), /empty\.pem holds no certificate in PEM/],
    ['DER', () => file('der.crt', new X509Certificate(amazonRootCa()).raw), /der\.crt holds no certificate in PEM/],
    ['a bundle', () => file('bundle.pem', amazonRootCa().repeat(3)), /bundle\.pem holds 3 certificates/],
    [
      'a damaged certificate',
      () => file('damaged.pem', amazonRootCa().replace('MII', 'AAA')),
      /damaged\.pem is not a valid certificate/,
    ],
  ])('refuses %s, and says why', (_what, path, reason) => {
    expect(() => amazonRootCa(path())).toThrow(reason);
    expect(() => amazonRootCa(path())).toThrow(/^CVM_ROOT_CA: /);
  });
});

import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepare } from '../../cli/program.ts';
import { tlsCommand } from '../../cli/tls.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { tlsOptions } from '../../site-tls/material.ts';
import { beginRotation } from '../../site-tls/rotation.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';

describe('cvm tls ca', () => {
  let dataDir: string;
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-tls-ca-'));
  });
  afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

  const settings = (env: Record<string, string> = {}) => loadSettings({ CVM_DATA_DIR: dataDir, ...env });
  async function print(env?: Record<string, string>, ...args: string[]): Promise<string> {
    let text = '';
    const write = (line: string) => {
      text += `${line}\n`;
    };
    const unused = () => {
      throw new Error('not used here');
    };
    const command = tlsCommand({ settings: async () => settings(env), write, table: unused, audit: unused });
    await prepare(command).parseAsync(['ca', ...args], { from: 'user' });
    return text;
  }

  it('prints the CA that signed the server certificate, in PEM and nothing else', async () => {
    const { cert } = await loadTlsMaterial(tlsOptions(settings()));
    const text = await print();
    expect(text).toMatch(/^-----BEGIN CERTIFICATE-----\n[^-]+-----END CERTIFICATE-----\n$/);
    expect(new X509Certificate(cert).verify(new X509Certificate(text).publicKey)).toBe(true);
  });

  it('prints the old and the next CA while it is replaced', async () => {
    await loadTlsMaterial(tlsOptions(settings()));
    await beginRotation(tlsOptions(settings()));
    expect((await print()).match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
  });

  it('prints the RSA one beside P-256 where that is asked for', async () => {
    const both = { CVM_TLS_KEY_TYPE: 'both' };
    await loadTlsMaterial(tlsOptions(settings(both)));
    const typeOf = (pem: string) => new X509Certificate(pem).publicKey.asymmetricKeyType;
    expect([typeOf(await print(both)), typeOf(await print(both, '--rsa'))]).toEqual(['ec', 'rsa']);
    await expect(print({}, '--rsa')).rejects.toThrow(/no RSA certificate: CVM_TLS_KEY_TYPE is ec/);
  });

  it('says so where the certificate is not of the site CA', async () => {
    const own = { CVM_TLS_CERT: '/own.crt', CVM_TLS_KEY: '/own.key' };
    await expect(print(own)).rejects.toThrow(/your own certificate/);
  });
});

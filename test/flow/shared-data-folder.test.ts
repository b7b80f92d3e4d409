import { execFile } from 'node:child_process';
import { X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const built = join(import.meta.dirname, '../../dist');

/** Loads the TLS material as `cvm broker` does first; its arguments are the data folder and a machine name. */
const start = `
  const [dataDir, machineName] = process.argv.slice(1);
  const { loadTlsMaterial } = await import('${built}/site-tls/site-ca.js');
  const { loadGateway } = await import('${built}/site-tls/gateway-key.js');
  const { caFingerprint, spkiPin } = await loadTlsMaterial({ dataDir, hostnames: [], machineName });
  const { identity } = await loadGateway(dataDir);
  console.log(JSON.stringify({ caFingerprint, spkiPin, gateway: identity.id }));
`;

describe('brokers that share a data folder', () => {
  const root = mkdtempSync(join(tmpdir(), 'cvm-shared-'));
  afterAll(() => rmSync(root, { recursive: true, force: true }));

  it.each([1, 2, 3, 4, 5])('that start together for the first time use the same keys (trial %i)', async (trial) => {
    const dataDir = join(root, String(trial));
    const names = ['one', 'two', 'three'];
    const outcomes = await Promise.all(
      names.map((name) => run(process.execPath, ['--input-type=module', '-e', start, dataDir, name])),
    );
    expect(new Set(outcomes.map(({ stdout }) => stdout))).toHaveProperty('size', 1);
    const folder = join(dataDir, 'tls');
    const [ca, server] = ['site-ca.crt', 'server.crt'].map((name) => readFileSync(join(folder, name)));
    const certificate = new X509Certificate(server ?? '');
    expect(certificate.verify(new X509Certificate(ca ?? '').publicKey)).toBe(true);
    for (const name of names) expect(certificate.checkHost(name)).toBe(name);
    expect(readdirSync(folder).filter((name) => name.endsWith('.new'))).toEqual([]);
  });
});

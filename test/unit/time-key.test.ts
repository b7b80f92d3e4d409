import { createHash, createPublicKey } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { prepare } from '../../cli/program.ts';
import { tlsCommand } from '../../cli/tls.ts';
import { signedTimeBytes } from '../../protocol/time.ts';
import { earliest } from '../../runtime/plausible-time.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { newKey } from '../../site-tls/key-type.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { loadTimeKey, whyClockDoubted } from '../../site-tls/time-key.ts';
import { goldenTime, isTimeOf } from '../support/time.ts';

const { nonce, time } = goldenTime;

let dataDir: string;
let [keyFile, publicFile] = ['', ''];
beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'cvm-time-key-'));
  [keyFile, publicFile] = [join(dataDir, 'tls', 'time.key'), join(dataDir, 'tls', 'time.pub')];
});
afterEach(() => rmSync(dataDir, { recursive: true, force: true }));

describe('the key that signs the time', () => {
  it('is made at the first start, readable by its owner only, and stays', async () => {
    const first = await loadTimeKey(dataDir);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    expect(readFileSync(publicFile, 'utf8')).toBe(first.publicKeyPem);
    const later = await loadTimeKey(dataDir);
    expect(later.publicKeyPem).toBe(first.publicKeyPem);
    const signature = later.sign(signedTimeBytes(nonce, time));
    expect(isTimeOf(nonce, time, signature, first.publicKeyPem)).toBe(true);
  });

  it('is one for all brokers that start at the folder at the same time', async () => {
    const keys = await Promise.all([loadTimeKey(dataDir), loadTimeKey(dataDir), loadTimeKey(dataDir)]);
    expect(new Set(keys.map(({ publicKeyPem }) => publicKeyPem)).size).toBe(1);
  });

  it('is kept where a first start was killed before its public half was written', async () => {
    const { publicKeyPem } = await loadTimeKey(dataDir);
    rmSync(publicFile);
    expect((await loadTimeKey(dataDir)).publicKeyPem).toBe(publicKeyPem);
    expect(readFileSync(publicFile, 'utf8')).toBe(publicKeyPem);
  });

  it('is not made anew where it was lost: devices have pinned it', async () => {
    await loadTimeKey(dataDir);
    rmSync(keyFile);
    await expect(loadTimeKey(dataDir)).rejects.toThrow(/time\.key is missing; restore .*time\.key from a backup/);
    rmSync(publicFile);
    await loadTimeKey(dataDir);
  });

  it('must be that of its public half, and on P-256', async () => {
    await loadTimeKey(dataDir);
    writeFileSync(keyFile, await newKey('ec'));
    await expect(loadTimeKey(dataDir)).rejects.toThrow(/time\.pub is not the public half/);
    writeFileSync(keyFile, await newKey('rsa'));
    await expect(loadTimeKey(dataDir)).rejects.toThrow(/is no P-256 key; restore/);
  });
});

describe('the clock of the gateway', () => {
  it('is doubted before this version was made, and outside of the time of the certificate that is served', async () => {
    const tls = await loadTlsMaterial({ dataDir, hostnames: [], machineName: 'box', keyType: 'both' });
    expect(whyClockDoubted(tls, Date.now())).toBeUndefined();
    expect(whyClockDoubted(tls, 0)).toContain('when this version was made');
    expect(whyClockDoubted(tls, earliest.time)).toContain('the server certificate begins');
    expect(whyClockDoubted(tls, tls.notAfter.getTime() + 1)).toContain('the server certificate ended');
  });
});

describe('cvm tls time-key', () => {
  async function print(...args: string[]): Promise<string> {
    let text = '';
    const write = (line: string) => {
      text += `${line}\n`;
    };
    const unused = () => {
      throw new Error('not used here');
    };
    const settings = async () => loadSettings({ CVM_DATA_DIR: dataDir });
    await prepare(tlsCommand({ settings, write, table: unused, audit: unused })).parseAsync(args, { from: 'user' });
    return text;
  }

  it('prints the public key in PEM and nothing else, or its point in hex', async () => {
    await loadTimeKey(dataDir);
    expect(await print('time-key')).toBe(readFileSync(publicFile, 'utf8'));
    const hex = (await print('time-key', '--hex')).trim();
    expect(hex).toMatch(/^04[0-9a-f]{128}$/);
    const spki = createPublicKey(readFileSync(publicFile, 'utf8')).export({ format: 'der', type: 'spki' });
    expect(spki.toString('hex').endsWith(hex)).toBe(true);
  });

  it('prints the test vector of docs/protocol.md as it stands there', async () => {
    await loadTimeKey(dataDir);
    writeFileSync(publicFile, goldenTime.publicKeyPem);
    expect((await print('time-key', '--hex')).trim()).toBe(goldenTime.publicKey);
  });

  it('says where the key is made, as long as there is none', async () => {
    await expect(print('time-key')).rejects.toThrow(/time\.pub yet; the broker makes it at its first start/);
  });

  it('has its pin in cvm tls show', async () => {
    await loadTlsMaterial({ dataDir, hostnames: [], machineName: 'box' });
    await loadTimeKey(dataDir);
    const spki = createPublicKey(readFileSync(publicFile, 'utf8')).export({ format: 'der', type: 'spki' });
    const pin = createHash('sha256').update(spki).digest('base64');
    expect(JSON.parse(await print('show', '--json'))).toMatchObject({ timeKey: `sha256//${pin}` });
  });
});

import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { claimsCommand } from '../../cli/claims.ts';
import { prepare } from '../../cli/program.ts';
import type { ClaimCertificates } from '../../registry/claim-certificates.ts';
import { memoryRows } from '../../registry/memory.ts';
import { createClaimCertificates } from '../../registry/rules/claim-certificates.ts';
import { noAudit } from '../../runtime/audit.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { tlsOptions } from '../../site-tls/material.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';

describe('cvm claims', () => {
  let dataDir: string;
  let claims: ClaimCertificates;
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-claims-'));
    claims = createClaimCertificates(memoryRows(new Map()));
    vi.spyOn(console, 'error').mockImplementation(() => {});
    await loadTlsMaterial(tlsOptions(settings()));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(dataDir, { recursive: true, force: true });
  });

  const settings = (env: Record<string, string> = {}) => loadSettings({ CVM_DATA_DIR: dataDir, ...env });
  const out = () => join(dataDir, 'out');
  async function run(args: readonly string[], env: Record<string, string> = {}): Promise<string[]> {
    const lines: string[] = [];
    const context = {
      settings: async () => settings(env),
      table: async () => ({ claims }),
      audit: async () => noAudit,
      clock: async () => Date.now,
    };
    const command = claimsCommand({ ...context, write: (line) => void lines.push(line) });
    await prepare(command).parseAsync([...args], { from: 'user' });
    return lines;
  }
  const usual = ['create', 'pumps', '--template', 'pump', '--serials', 'P-*', '--most', '5', '--expires', '7d'];

  it('makes a claim certificate that the site CA has signed, with a key that only its owner can read, and tells the table', async () => {
    const [line = ''] = await run([...usual, '--out', dataDir, '--json']);
    const { id, certificateFile, keyFile } = JSON.parse(line);
    const certificate = new X509Certificate(readFileSync(certificateFile));
    expect(id).toBe(createHash('sha256').update(certificate.raw).digest('hex'));
    expect(certificate.verify(new X509Certificate(readFileSync(join(dataDir, 'tls', 'site-ca.crt'))).publicKey)).toBe(
      true,
    );
    expect(certificate.checkPrivateKey(createPrivateKey(readFileSync(keyFile)))).toBe(true);
    expect(statSync(keyFile).mode & 0o777).toBe(0o600);
    const limits = { group: 'pumps', templateName: 'pump', serials: 'P-*', most: 5, mostAnHour: 100, served: 0 };
    expect(await claims.find(id)).toMatchObject(limits);
  });

  it('takes one that its operator has made, and its end where that comes first', async () => {
    const [line = ''] = await run([...usual, '--out', dataDir, '--json']);
    const { certificateFile } = JSON.parse(line);
    claims = createClaimCertificates(memoryRows(new Map()));
    const longer = [...usual.slice(0, -1), '90d'];
    const [id = ''] = await run([...longer, '--certificate', certificateFile]);
    expect((await claims.find(id))?.endsAt).toBe(
      Date.parse(new X509Certificate(readFileSync(certificateFile)).validTo),
    );
    await expect(run([...longer, '--certificate', certificateFile])).rejects.toThrow(/in the table already/);
  });

  it('lists what each may be used for, and revokes by the first characters of its id, all or none', async () => {
    const [line = ''] = await run([...usual, '--out', dataDir, '--json']);
    const { id } = JSON.parse(line);
    expect(await run(['list'])).toEqual([expect.stringContaining(`${id}  pumps  in-force  0 of 5`)]);
    await expect(run(['revoke', id.slice(0, 8), '00000000'])).rejects.toThrow(/0 claim certificates/);
    await expect(run(['revoke', id.slice(0, 7)])).rejects.toThrow();
    expect((await claims.find(id))?.revokedAt).toBeUndefined();
    await run(['revoke', id.slice(0, 8)]);
    const [shown = ''] = await run(['list', '--json']);
    expect(JSON.parse(shown)).toMatchObject({ id, state: 'revoked', served: 0 });
  });

  it('says what is wrong with a name, a pattern, a file or a setting, and makes nothing', async () => {
    const changed = (from: string, to: string) => usual.map((each) => (each === from ? to : each));
    await expect(run(changed('pumps', 'a b'))).rejects.toThrow(/name of a group/);
    await expect(run(changed('P-*', 'P/*'))).rejects.toThrow(/pattern of serials/);
    await expect(run(changed('pump', 'a.b'))).rejects.toThrow(/no name of a template/);
    writeFileSync(out(), 'no PEM');
    await expect(run([...usual, '--certificate', out()])).rejects.toThrow(/is no certificate/);
    await expect(run(usual, { CVM_CLAIMS_CA: '/ca.pem' })).rejects.toThrow(/name it by --certificate/);
    expect(await claims.list()).toEqual([]);
    expect(readdirSync(dataDir).filter((name) => name.startsWith('pumps'))).toEqual([]);
  });
});

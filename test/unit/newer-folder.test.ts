import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Command } from 'commander';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { commands } from '../../cli/commands.ts';
import { type CliContext, openContext } from '../../cli/context.ts';
import { prepare } from '../../cli/program.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { tlsOptions } from '../../site-tls/material.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';

describe('a data folder that a later version has changed', () => {
  let dataDir: string;
  let written: string[];
  const environment = () => ({ CVM_DATA_DIR: dataDir, CVM_BACKUP_PASSPHRASE: 'abcdefghijklmnop' });
  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-newer-'));
    written = [];
    vi.spyOn(console, 'error').mockImplementation(() => {});
    await loadTlsMaterial(tlsOptions(loadSettings(environment())));
    writeFileSync(join(dataDir, 'format.json'), '{"format":2,"by":"9.1.0"}');
  });
  afterEach(() => {
    vi.restoreAllMocks();
    rmSync(dataDir, { recursive: true, force: true });
  });

  const filesNow = () =>
    readdirSync(dataDir, { recursive: true, withFileTypes: true })
      .filter((each) => each.isFile())
      .map(({ parentPath, name }) => [join(parentPath, name), readFileSync(join(parentPath, name), 'hex')]);

  async function run(argv: readonly string[]): Promise<unknown> {
    const context: CliContext = { ...openContext(environment()), write: (line) => void written.push(line) };
    const entry = commands.find(({ name }) => name === argv[0]);
    const program = new Command('cvm').addCommand((await entry?.load(async () => context)) as Command);
    return prepare(program).parseAsync([...argv], { from: 'user' });
  }

  it.each([
    'tls show',
    'tls ca',
    'tls time-key',
    'tls renew',
    'tls rotate-ca',
    'tls rotate-ca --cancel',
    'console password --reset',
    'console token create ci',
    'console token list',
    'console token revoke ci',
    'claims create pumps --template pump --serials P-* --most 1 --expires 7d',
    'backup FILE',
  ])('is left alone by cvm %s, which says what to run', async (line) => {
    const before = filesNow();
    await expect(
      run(line.split(' ').map((word) => (word === 'FILE' ? join(dataDir, 'backup.cvm') : word))),
    ).rejects.toMatchObject({
      message: expect.stringMatching(
        /^the data folder .* has format 2, by cvm 9\.1\.0, and this version .* knows format 1/,
      ),
      cure: expect.stringContaining('run cvm 9.1.0 or newer here'),
    });
    expect(filesNow()).toEqual(before);
    expect(written).toEqual([]);
  });
});

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { simCommand } from '../../cli/sim.ts';
import { amazonRootCa } from '../../issuer/root-ca.ts';
import { loadSettings } from '../../runtime/settings.ts';

describe('cvm sim', () => {
  let folder: string;
  let written: (line: string) => void = () => {};
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-sim-'));
  });
  afterEach(() => {
    vi.restoreAllMocks();
    process.exitCode = undefined;
    rmSync(folder, { recursive: true, force: true });
  });
  const run = (...argv: string[]) => {
    const settings = async () => loadSettings({ CVM_DATA_DIR: folder });
    const context = {
      settings,
      operator: () => Promise.reject(new Error('no device is enrolled')),
      write: (line: string) => written(line),
    };
    const command = simCommand(context)
      .exitOverride()
      .configureOutput({ writeErr() {} });
    return command.parseAsync(argv, { from: 'user' });
  };
  const file = (name: string, content: string) => {
    const path = join(folder, name);
    writeFileSync(path, content);
    return path;
  };

  it.each(['A,token-a\nB,token-b\n', 'serial,token\nA,token-a\nB,\n', 'serial\nA\n'])(
    'refuses a file in which a row has no serial or no token, before any device connects: %j',
    async (content) => {
      const credentials = file('devices.csv', content);
      await expect(run('--ca', file('ca.pem', amazonRootCa()), '--credentials', credentials)).rejects.toThrow(
        /devices\.csv: every row needs a serial and a token.*"serial,token"/,
      );
    },
  );

  it.each([
    ['a CA file without a certificate', ['--ca', 'other.txt'], /other\.txt has no certificate in PEM/],
    [
      'a file of credentials that is missing',
      ['--ca', 'ca.pem', '--credentials', 'none.csv'],
      /none\.csv cannot be read \(ENOENT\)/,
    ],
    [
      'a file of credentials without a device',
      ['--ca', 'ca.pem', '--credentials', 'empty.csv'],
      /empty\.csv has no device/,
    ],
    [
      'a file of credentials that names a device twice',
      ['--ca', 'ca.pem', '--credentials', 'twice.csv'],
      /twice\.csv: the serial "A" is in two rows/,
    ],
  ])('refuses %s before any device connects', async (_what, argv, message) => {
    file('ca.pem', amazonRootCa());
    file('other.txt', 'no certificate');
    file('empty.csv', 'serial,token\n');
    file('twice.csv', 'serial,token\nA,token-a\nB,token-b\nA,token-a\n');
    await expect(run(...argv.map((each) => (each.includes('.') ? join(folder, each) : each)))).rejects.toThrow(message);
  });

  it.each([
    ['more devices than fit into memory, before it makes them', ['--devices', '1e9'], /from 1 to 1000000/],
    ['a port that is none', ['--port', '99999'], /1 to 65535/],
    ['a number of devices beside a file of them', ['--devices', '5', '--credentials', 'x.csv'], /cannot be used with/],
  ])('refuses %s', async (_what, argv, message) => {
    await expect(run(...argv)).rejects.toThrow(message);
  });

  it('refuses a folder as the page before any device connects, and not after a long run', async () => {
    await expect(run('--html', folder)).rejects.toThrow(/cannot be written \(EISDIR\)/);
  });

  it.skipIf(process.platform !== 'linux')(
    'writes the page where standard output is full, and prints the report where the disk of the page is full, which it names',
    async () => {
      const argv = [
        '--ca',
        file('ca.pem', amazonRootCa()),
        '--credentials',
        file('one.csv', 'serial,token\nA,token-a\n'),
      ];
      const unserved = [...argv, '--port', '9', '--timeout', '1'];
      vi.spyOn(console, 'error').mockImplementation(() => {});
      const page = join(folder, 'page.html');
      written = () => {
        throw new Error('standard output cannot be written');
      };
      await expect(run(...unserved, '--html', page)).rejects.toThrow('standard output cannot be written');
      expect(readFileSync(page, 'utf8')).toContain('</html>');
      const lines: string[] = [];
      written = (line) => void lines.push(line);
      await expect(run(...unserved, '--html', '/dev/full')).rejects.toThrow('/dev/full cannot be written (ENOSPC)');
      expect(lines.join()).toContain('timed out, connect ECONNREFUSED');
    },
  );

  it('says how to get the CA file that is missing', async () => {
    await expect(run()).rejects.toThrow(/site-ca\.crt cannot be read \(ENOENT\): start the gateway once.*--ca/);
  });
});

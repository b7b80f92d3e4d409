import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { askOnce } from '../support/device.ts';
import { lacks } from '../support/lacks.ts';
import { isolated } from '../support/program.ts';
import { full } from '../support/size.ts';

const minutes = 60_000;
/** Another user than that of the package, where the test may be one. */
const other = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};

describe.skipIf(lacks('redis-server'))('the package that a release has', { timeout: 4 * minutes }, () => {
  let folder: string;
  let children: ChildProcess[];
  const out = () => join(folder, 'out');
  const files = () => readdirSync(out()).sort();
  const tarball = () => join(out(), files().find((name) => name.endsWith('.tgz')) ?? 'no package');
  const names = () => execFileSync('tar', ['-tzf', tarball()], { encoding: 'utf8' }).trim().split('\n');

  beforeAll(() => {
    children = [];
    folder = mkdtempSync(join(tmpdir(), 'cvm-package-'));
    chmodSync(folder, 0o755);
    execFileSync(process.execPath, ['release/package.js', out()]);
  }, 4 * minutes);
  afterAll(async () => {
    for (const child of children) {
      const ended = new Promise((resolve) => child.once('close', resolve));
      if (child.kill('SIGTERM')) await ended;
    }
    rmSync(folder, { recursive: true, force: true });
  });

  /** As npm install does it, or, in a short run, its two steps that matter: unpack, and a name on PATH. @returns the program */
  function install(): string {
    const prefix = join(folder, 'a prefix with spaces');
    mkdirSync(prefix);
    if (!full) {
      execFileSync('tar', ['-xzf', tarball(), '-C', prefix]);
      return join(prefix, 'package/dist/cli/cvm.js');
    }
    // no cache, no network, no script: all that is needed is in it
    const argv = ['install', '--global', '--offline', '--ignore-scripts', '--no-audit', '--no-fund'];
    execFileSync('npm', [...argv, `--prefix=${prefix}`, `--cache=${join(folder, 'cache')}`, tarball()]);
    return join(prefix, 'bin/cvm');
  }

  it('has the product and what it needs, and no test, no source map, no data and no secret', () => {
    const own = names()
      .filter((name) => !name.endsWith('/') && !name.startsWith('package/node_modules/'))
      .map((name) => name.slice('package/'.length));
    const tops = [...new Set(own.map((name) => name.split('/')[0]))].sort();
    expect(tops).toEqual(
      ['.env.example', 'CHANGELOG.md', 'LICENSE', 'README.md', 'deploy', 'dist', 'docs', 'package.json'].sort(),
    );
    expect(own.filter((name) => /\.(map|ts|key|pem|crt|p12|log)$|(^|\/)(tests?|data|release)\//.test(name))).toEqual(
      [],
    );
    for (const needed of ['dist/cli/cvm.js', 'dist/console/web/index.html', 'deploy/systemd/cvm.service'])
      expect(own).toContain(needed);
  });

  it('keeps the licence of each package in it', () => {
    const packages = names().filter((name) => /\/node_modules\/(@[^/]+\/)?[^/]+\/$/.test(name));
    const licences = new Set(
      names()
        .filter((name) => /\/(licen[cs]e|copying)[^/]*$/i.test(name))
        .map((name) => name.slice(0, name.lastIndexOf('/') + 1)),
    );
    const hadOne = (name: string) =>
      readdirSync(name.slice('package/'.length)).some((file) => /^(licen[cs]e|copying)/i.test(file));
    expect(packages.length).toBeGreaterThan(100);
    expect(packages.filter((name) => hadOne(name) && !licences.has(name))).toEqual([]);
  });

  it('comes with its SBOM, and with checksums that hold', () => {
    expect(files()).toEqual([
      'SHA256SUMS',
      expect.stringMatching(/^cvm-gateway-.*\.cdx\.json$/),
      expect.stringMatching(/^cvm-gateway-.*\.tgz$/),
    ]);
    const sums = readFileSync(join(out(), 'SHA256SUMS'), 'utf8').trim().split('\n');
    expect(sums).toHaveLength(2);
    for (const line of sums) {
      const [sum, name = ''] = line.split('  ');
      expect(
        createHash('sha256')
          .update(readFileSync(join(out(), name)))
          .digest('hex'),
      ).toBe(sum);
    }
  });

  it('provisions a device from an empty folder, for another user, with umask 077, a home that is read-only and spaces in all paths', async () => {
    const program = install();
    const site = join(folder, 'plant 7');
    const home = join(folder, 'home');
    mkdirSync(site);
    mkdirSync(home);
    chmodSync(home, 0o555);
    if (other.uid !== undefined) chownSync(site, other.uid, other.gid);
    const { CVM_DATA_DIR: _default, ...rest } = isolated('unused');
    const options = { cwd: site, env: { ...rest, HOME: home }, ...other };
    const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
    const call = (...argv: string[]) =>
      execFileSync(process.execPath, [program, ...argv], { ...options, encoding: 'utf8' });
    expect(call('--version').trim()).toBe(version);

    const shell = 'umask 077; exec "$0" "$@"';
    const up = spawn('/bin/sh', ['-c', shell, process.execPath, program, 'up', '--local-aws'], options);
    children.push(up);
    const port = await new Promise<number>((resolve, reject) => {
      let said = '';
      up.stderr.on('data', (chunk: Buffer) => {
        said += chunk.toString();
        const found = /"port":(\d+).*broker is listening/.exec(said)?.[1];
        if (found !== undefined) resolve(Number(found));
      });
      up.once('close', (code) => reject(new Error(`cvm up ended with ${code}:\n${said}`)));
    });
    const token = /[\w-]{20,}/.exec(call('devices', 'add', 'SN-1').replace(/.*token\W*/is, ''))?.[0] ?? '';
    const caPem = readFileSync(join(site, 'data/tls/site-ca.crt'), 'utf8');
    expect(await askOnce({ port, caPem }, 'SN-1', { token, key: 'ec' })).toMatchObject({ status: 'accepted' });
    expect(readdirSync(site)).toEqual(['data']);
    expect(readdirSync(home)).toEqual([]);
  });
});

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/**
 * Installs a Node below the folder, unless it is there. npm's package `node` would pick the package of this platform in an
 * install script; taking that one directly needs no script.
 * @returns the folder of its executable
 */
export async function installNode(folder: string, version: string): Promise<string> {
  const { platform, arch } = process;
  const name = `${platform === 'darwin' && arch === 'arm64' ? 'node-bin' : 'node'}-${platform}-${arch}`;
  const prefix = join(folder, version);
  const bin = join(prefix, 'node_modules', name, 'bin');
  if (!existsSync(join(bin, 'node'))) {
    mkdirSync(prefix, { recursive: true });
    const quiet = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund'];
    await run('npm', ['install', '--prefix', prefix, ...quiet, `${name}@${version}`]);
  }
  const { stdout } = await run(join(bin, 'node'), ['--version']);
  if (stdout.trim() !== `v${version}`) throw new Error(`${bin} holds Node ${stdout.trim()} in place of v${version}`);
  return bin;
}

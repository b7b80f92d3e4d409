import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const checkout = join(import.meta.dirname, '../..');

/** The last commit of the release before. */
export const earlierCommit = '4851c71';

/** A shallow clone does not have it. */
export function hasEarlierRelease(): boolean {
  try {
    execFileSync('git', ['cat-file', '-e', `${earlierCommit}^{commit}`], { cwd: checkout, stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * The program of the release before, built once, with the libraries of today. It is not type-checked again.
 * @returns its `cvm.js`
 */
export function earlierCvm(): string {
  const folder = join(checkout, '.cache', 'release', earlierCommit);
  const cvm = join(folder, 'dist', 'cli', 'cvm.js');
  if (existsSync(cvm)) return cvm;
  const part = `${folder}.${process.pid}`;
  mkdirSync(part, { recursive: true });
  const archive = execFileSync('git', ['archive', earlierCommit], { cwd: checkout, maxBuffer: 2 ** 28 });
  execFileSync('tar', ['-x', '-C', part], { input: archive });
  symlinkSync(join(checkout, 'node_modules'), join(part, 'node_modules'));
  execFileSync(join(checkout, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.build.json', '--noCheck'], {
    cwd: part,
  });
  rmSync(folder, { recursive: true, force: true });
  renameSync(part, folder);
  return cvm;
}

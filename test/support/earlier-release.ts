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
 * The newest Node.js refuses the keys of all devices as that release reads them, so it takes no request. This commit's change of
 * sealing/hpke.ts mends that, and nothing else.
 */
const mendCommit = '704a09a';

/** Writes the source of the release before into a folder. */
export function unpackEarlierRelease(folder: string): void {
  const archive = execFileSync('git', ['archive', earlierCommit], { cwd: checkout, maxBuffer: 2 ** 28 });
  execFileSync('tar', ['-x', '-C', folder], { input: archive });
  const mend = execFileSync('git', ['show', mendCommit, '--', 'sealing/hpke.ts'], { cwd: checkout });
  // below a clone, git takes the paths of a patch for the clone's
  const env = { ...process.env, GIT_CEILING_DIRECTORIES: join(folder, '..') };
  execFileSync('git', ['apply'], { cwd: folder, input: mend, env });
}

/**
 * The program of the release before, built once, with the libraries of today. It is not type-checked again.
 * @returns its `cvm.js`
 */
export function earlierCvm(): string {
  const folder = join(checkout, '.cache', 'release', `${earlierCommit}-${mendCommit}`);
  const cvm = join(folder, 'dist', 'cli', 'cvm.js');
  if (existsSync(cvm)) return cvm;
  const part = `${folder}.${process.pid}`;
  mkdirSync(part, { recursive: true });
  unpackEarlierRelease(part);
  symlinkSync(join(checkout, 'node_modules'), join(part, 'node_modules'));
  execFileSync(join(checkout, 'node_modules', '.bin', 'tsc'), ['-p', 'tsconfig.build.json', '--noCheck'], {
    cwd: part,
  });
  rmSync(folder, { recursive: true, force: true });
  renameSync(part, folder);
  return cvm;
}

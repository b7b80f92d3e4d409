import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { cvmOf } from './gateway.ts';

/**
 * Another commit of this repository, built, below `node_modules/.cache`, where it stays for the next run.
 * @returns its folder
 * @throws when the clone has no such commit (a shallow one, say) or it cannot be built
 */
export async function earlierCheckout(checkout: string, commit: string, say: (line: string) => void): Promise<string> {
  const folder = join(checkout, 'node_modules', '.cache', 'bench', commit);
  if (existsSync(cvmOf(folder))) return folder;
  say(`building ${commit}, once`);
  const inFolder = { cwd: folder, stdio: 'pipe' } as const;
  if (!existsSync(join(folder, '.git')))
    execFileSync('git', ['clone', '--quiet', '--no-checkout', checkout, folder], { stdio: 'pipe' });
  execFileSync('git', ['checkout', '--quiet', commit], inFolder);
  execFileSync('npm', ['ci', '--no-audit', '--no-fund'], inFolder);
  execFileSync('npm', ['run', '--silent', 'build'], inFolder);
  return folder;
}

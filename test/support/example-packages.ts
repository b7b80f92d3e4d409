import { spawnSync } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, symlinkSync } from 'node:fs';
import { homedir, tmpdir } from 'node:os';
import { join } from 'node:path';

const examples = join(import.meta.dirname, '../../examples');

/** Once for each lock file, outside of the checkout: what examples need is no business of the product, and some of it is large. */
const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'cvm-gateway/examples');

/**
 * An example as a user has it who copied its folder and ran `npm ci`.
 * @returns undefined where its packages could not be installed: in CI that is an error
 */
export function copyExample(name: string): { readonly folder: string; remove(): void } | undefined {
  const packages = installOnce(name);
  if (packages === undefined) return undefined;
  const folder = mkdtempSync(join(tmpdir(), `cvm-example-${name}-`));
  cpSync(join(examples, name), folder, { recursive: true, filter: (path) => !path.endsWith('node_modules') });
  symlinkSync(join(packages, 'node_modules'), join(folder, 'node_modules'));
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

function installOnce(name: string): string | undefined {
  const files = ['package.json', 'package-lock.json'].map((file) => join(examples, name, file));
  const version = createHash('sha256').update(Buffer.concat(files.map((file) => readFileSync(file))));
  const folder = join(cache, `${name}-${version.digest('hex').slice(0, 16)}`);
  if (existsSync(folder)) return folder;
  // under another name until it is whole: several test files may want it at once
  const unfinished = `${folder}.${randomUUID()}`;
  mkdirSync(unfinished, { recursive: true });
  for (const file of files) cpSync(file, join(unfinished, file.slice(join(examples, name).length)));
  // what these packages need is in them, built: their scripts would only look for it
  const argv = ['ci', '--ignore-scripts', '--no-audit', '--no-fund'];
  const { status, stdout, stderr } = spawnSync('npm', argv, { cwd: unfinished, encoding: 'utf8', timeout: 300_000 });
  if (status === 0) return settle(unfinished, folder);
  rmSync(unfinished, { recursive: true, force: true });
  const reason = `npm ci of examples/${name} failed: ${`${stdout ?? ''}${stderr ?? ''}`.trim().slice(-2000)}`;
  if (process.env.CI) throw new Error(reason);
  console.warn(`SKIPPED: the test of examples/${name}. ${reason}`);
  return undefined;
}

/** Another one may have been first: its folder is as good. */
function settle(unfinished: string, folder: string): string {
  try {
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(folder)) throw error;
  }
  return folder;
}

import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Of Debian 13. The vectors have the licences EPL-2.0 and EDL-1.0, so they are fetched, and not part of this repository. */
const [suite, version] = ['trixie', '2.0.21-1'];
const keyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/**
 * Fetches Debian's source package of mosquitto into the folder, unless it is there, from the mirror that this machine uses.
 * apt gets lists and a cache of its own, so that the machine's stay as they are.
 * @returns the folder of the vectors, or the reason for which there is none
 */
export async function fetchSource(folder: string): Promise<{ vectors: string; version: string } | { reason: string }> {
  const vectors = join(folder, 'source/test/broker/data');
  try {
    if (!existsSync(vectors)) await download(folder);
    return { vectors, version };
  } catch (error) {
    const { stderr, message } = error as { stderr?: string; message: string };
    return { reason: (stderr || message).trim().split('\n')[0] ?? '' };
  }
}

async function download(cwd: string): Promise<void> {
  const [list, lists, cache] = ['sources.list', 'lists', 'cache'].map((name) => join(cwd, name));
  for (const each of [join(cwd, 'lists/partial'), join(cwd, 'cache'), join(cwd, 'source')])
    mkdirSync(each, { recursive: true });
  writeFileSync(list as string, `deb-src [signed-by=${keyring}] ${await mirror()} ${suite} main\n`);
  const own = { 'Etc::sourcelist': list, 'Etc::sourceparts': '-', 'State::lists': lists, Cache: cache };
  const options = Object.entries(own).flatMap(([name, value]) => ['-o', `Dir::${name}=${value}`]);
  await run('apt-get', [...options, 'update'], { cwd });
  await run('apt-get', [...options, '--download-only', 'source', `mosquitto=${version}`], { cwd });
  const archive = readdirSync(cwd).find((name) => name.endsWith('.orig.tar.gz'));
  if (archive === undefined) throw new Error('the source package has no .orig.tar.gz');
  await run('tar', ['xf', archive, '-C', 'source', '--strip-components=1'], { cwd });
}

/** The address of Debian's archive in the sources of this machine. */
async function mirror(): Promise<string> {
  const format = '$(REPO_URI) $(ORIGIN) $(SUITE)';
  const { stdout } = await run('apt-get', ['indextargets', '--format', format, 'Created-By: Packages']);
  const archive = stdout.split('\n').find((line) => line.includes(' Debian ') && !line.includes('security'));
  if (archive === undefined) throw new Error('the apt of this machine knows no archive of Debian');
  return archive.split(' ')[0] as string;
}

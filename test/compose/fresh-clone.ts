import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

/** A question of a program at the terminal, and what the operator types then. */
export type Typed = readonly [question: RegExp, answer: string];

/**
 * The project as `git clone` makes it, in a folder of its own, and a terminal there. `docker compose` is what this machine has; each stack has a
 * name and ports of its own, since other stacks run here.
 */
export function freshClone(compose: readonly string[], env: NodeJS.ProcessEnv) {
  const folder = mkdtempSync(join(tmpdir(), 'cvm-clone-'));
  const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard']);
  const tar = ['--null', '--files-from=-', '--ignore-failed-read', '-c'];
  const packed = execFileSync('tar', tar, { input: files, maxBuffer: 2 ** 28, stdio: ['pipe', 'pipe', 'ignore'] });
  // the strictest umask that a host may have: the image runs as another user
  execFileSync('sh', ['-c', 'umask 077; tar -x --no-same-permissions -C "$0"', folder], { input: packed });
  const bin = mkdtempSync(join(tmpdir(), 'cvm-bin-'));
  const docker = execFileSync('sh', ['-c', 'command -v docker'], { encoding: 'utf8' }).trim();
  writeFileSync(
    join(bin, 'docker'),
    `#!/bin/sh\n[ "$1" = compose ] && shift && exec ${compose.map((word) => `'${word.replace(/^docker$/, docker)}'`).join(' ')} "$@"\nexec '${docker}' "$@"\n`,
    { mode: 0o755 },
  );
  mkdirSync(join(folder, 'lists'), { mode: 0o777 });
  const inherited = Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG|COMPOSE)_/.test(name));
  const environment = { ...Object.fromEntries(inherited), ...env, PATH: `${bin}:${process.env.PATH}` };

  /** Types lines at a terminal, of which the first that fails ends all. @returns what is on the screen then */
  function type(lines: readonly string[], typed: readonly Typed[] = []): Promise<string> {
    const script = join(bin, 'lines.sh');
    writeFileSync(script, ['set -eo pipefail', ...lines, ''].join('\n'));
    const argv = ['--quiet', '--return', '--command', `bash ${script}`, '/dev/null'];
    const child = spawn('script', argv, { cwd: folder, env: environment });
    const answers = [...typed];
    let [screen, read] = ['', 0];
    return new Promise((done, reject) => {
      for (const stream of [child.stdout, child.stderr])
        stream.on('data', (chunk: Buffer) => {
          screen += chunk.toString().replaceAll('\r', '');
          const [question, answer] = answers[0] ?? [];
          const found = question?.exec(screen.slice(read));
          if (found === undefined || found === null) return;
          read += found.index + found[0].length;
          answers.shift();
          child.stdin.write(`${answer}\r`);
        });
      child.once('error', reject);
      child.once('close', (code) => {
        if (code === 0) done(screen);
        else reject(new Error(`status ${code} at:\n${lines.join('\n')}\n\n${screen}`));
      });
    });
  }

  return {
    folder,
    type,
    remove() {
      for (const each of [folder, bin]) rmSync(each, { recursive: true, force: true });
    },
  };
}

/** The lines of the shell that a page shows, without their comments, block by block. */
export const shellBlocks = (page: string): string[][] =>
  [...readFileSync(resolve(page), 'utf8').matchAll(/^ *```sh\n([\s\S]*?)^ *```/gm)].map(([, block = '']) =>
    block
      .split('\n')
      .map((line) => line.replace(/\s+#.*$/, '').trim())
      .filter((line) => line !== ''),
  );

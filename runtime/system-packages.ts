import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export type Ensured = { readonly ok: true } | { readonly ok: false; readonly command: string; readonly reason: string };

/** Runs a program without a terminal. @returns its exit status and the end of what it said */
export type Run = (argv: readonly string[], env?: NodeJS.ProcessEnv) => Promise<{ status: number; said: string }>;

type Manager = {
  readonly program: string;
  readonly install: readonly string[];
  readonly refresh?: readonly string[];
  readonly root: boolean;
  readonly names: Readonly<Record<string, string>>;
};

const debian = { 'redis-server': 'redis-server', mosquitto_rr: 'mosquitto-clients' };
const others = { 'redis-server': 'redis', mosquitto_rr: 'mosquitto' };

const managers: readonly Manager[] = [
  {
    program: 'apt-get',
    install: ['apt-get', 'install', '-y', '--no-install-recommends'],
    refresh: ['apt-get', 'update'],
    root: true,
    names: debian,
  },
  { program: 'dnf', install: ['dnf', 'install', '-y'], root: true, names: others },
  { program: 'yum', install: ['yum', 'install', '-y'], root: true, names: others },
  { program: 'apk', install: ['apk', 'add'], root: true, names: { ...others, mosquitto_rr: 'mosquitto-clients' } },
  { program: 'zypper', install: ['zypper', '--non-interactive', 'install'], root: true, names: others },
  { program: 'pacman', install: ['pacman', '-S', '--noconfirm', '--needed'], root: true, names: others },
  { program: 'brew', install: ['brew', 'install'], root: false, names: others },
];

/** The path of a program, undefined when it is not on PATH. */
export function findCommand(name: string, path: string = process.env.PATH ?? ''): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/**
 * A program is on this machine afterwards, installed through the system's package manager if that takes no prompt; else
 * the answer holds the exact command to run.
 */
export async function ensureCommand(
  name: string,
  options: { write(line: string): void; run?: Run; find?: (name: string) => string | undefined; root?: boolean },
): Promise<Ensured> {
  const { write, run = runQuietly, find = findCommand, root = process.getuid?.() === 0 } = options;
  if (find(name) !== undefined) return { ok: true };
  const manager = managers.find((candidate) => find(candidate.program) !== undefined);
  const packageName = manager?.names[name];
  if (manager === undefined || packageName === undefined)
    return { ok: false, command: `install ${name} and put it on PATH`, reason: 'no package manager that we know' };
  const install = [...manager.install, packageName];
  const command = [...(manager.root ? ['sudo'] : []), ...install].join(' ');
  const prefix = await prefixWithoutPrompt(manager, root, run, find);
  if (prefix === undefined) return { ok: false, command, reason: 'that takes administrator rights' };
  write(`${name} is not on this machine; installing ${packageName} with ${manager.program}`);
  // a package must not start a service of its own beside ours
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  if (manager.refresh !== undefined) await run([...prefix, ...manager.refresh], env);
  const { status, said } = await run([...prefix, ...install], env);
  if (status === 0 && find(name) !== undefined) return { ok: true };
  return {
    ok: false,
    command,
    reason: `${manager.program} ended with status ${status}: ${said.trim().split('\n').at(-1) ?? ''}`,
  };
}

async function prefixWithoutPrompt(
  manager: Manager,
  root: boolean,
  run: Run,
  find: (name: string) => string | undefined,
): Promise<string[] | undefined> {
  if (!manager.root || root) return [];
  if (find('sudo') === undefined) return undefined;
  return (await run(['sudo', '-n', 'true'])).status === 0
    ? ['sudo', '-n', '--preserve-env=DEBIAN_FRONTEND,RUNLEVEL']
    : undefined;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

const runQuietly: Run = ([program = '', ...argv], env = process.env) =>
  new Promise((resolve) => {
    let said = '';
    const child = spawn(program, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk: Buffer) => {
        said = (said + chunk.toString()).slice(-4000);
      });
    }
    child.once('error', (error) => resolve({ status: 127, said: error.message }));
    child.once('close', (status) => resolve({ status: status ?? 1, said }));
  });

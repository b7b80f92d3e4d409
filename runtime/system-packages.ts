import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';

export type Ensured = { readonly ok: true } | { readonly ok: false; readonly command: string; readonly reason: string };

/** Runs a program without a terminal. @returns its exit status and the end of its output */
export type Run = (argv: readonly string[], env: NodeJS.ProcessEnv) => Promise<{ status: number; output: string }>;

type Manager = {
  readonly program: string;
  readonly install: readonly string[];
  readonly refresh?: readonly string[];
  readonly root: boolean;
  /** the packages of a name, with a space between them */
  readonly names: Readonly<Record<string, string>>;
};

const debian = {
  'redis-server': 'redis-server',
  mosquitto: 'mosquitto',
  mosquitto_rr: 'mosquitto-clients',
  haproxy: 'haproxy',
  nginx: 'nginx',
  stunnel: 'stunnel4',
  chromium: 'chromium',
  prometheus: 'prometheus',
  promtool: 'prometheus',
  // gcc alone comes without the headers of libc
  gcc: 'build-essential',
  'g++': 'build-essential',
  make: 'build-essential',
  'arm-none-eabi-gcc': 'gcc-arm-none-eabi',
  'mbedtls/ssl.h': 'libmbedtls-dev',
  jq: 'jq',
  xxd: 'xxd',
  openssl: 'openssl',
  curl: 'curl',
  script: 'bsdutils',
  'python3 paho.mqtt.client cryptography': 'python3-paho-mqtt python3-cryptography',
};
const others = {
  'redis-server': 'redis',
  mosquitto: 'mosquitto',
  mosquitto_rr: 'mosquitto',
  haproxy: 'haproxy',
  nginx: 'nginx',
  stunnel: 'stunnel',
  chromium: 'chromium',
};

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

type Find = (name: string) => string | undefined;

/** The path of a program; undefined when none of these folders (as in PATH) has it. */
export function findCommand(name: string, path: string): string | undefined {
  return path
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

/** The command line that installs a program on this machine, for a person to run. */
export function installCommand(name: string, find: Find): string {
  const found = findPackage(name, find);
  if (found === undefined) return `install ${name} and put it on PATH`;
  const { manager, packageName } = found;
  const steps = [...(manager.refresh === undefined ? [] : [manager.refresh]), [...manager.install, packageName]];
  return steps.map((step) => [...(manager.root ? ['sudo'] : []), ...step].join(' ')).join(' && ');
}

/**
 * Installs a program that is missing, through the system's package manager and without a prompt. For `npm start` and
 * `npm test`: the product itself only names the command.
 * @returns when the program could not be installed: the command for a person to run, and the reason
 */
export async function ensureCommand(
  name: string,
  options: { env: NodeJS.ProcessEnv; write(line: string): void; run?: Run; find?: Find; root?: boolean },
): Promise<Ensured> {
  const { env, write, run = runQuietly, root = process.getuid?.() === 0 } = options;
  const find = options.find ?? ((program: string) => findCommand(program, env.PATH ?? ''));
  if (find(name) !== undefined) return { ok: true };
  const command = installCommand(name, find);
  const found = findPackage(name, find);
  if (found === undefined) return { ok: false, command, reason: 'no known package manager' };
  const { manager, packageName } = found;
  const prefix = await prefixWithoutPrompt(manager, root, env, run, find);
  if (prefix === undefined) return { ok: false, command, reason: 'that needs administrator rights' };
  write(`${name} is not on this machine; installing ${packageName} with ${manager.program}`);
  // a package must not start a service of its own beside ours
  const quiet = { ...env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  if (manager.refresh !== undefined) await run([...prefix, ...manager.refresh], quiet);
  const { status, output } = await run([...prefix, ...manager.install, ...packageName.split(' ')], quiet);
  if (status === 0 && find(name) !== undefined) return { ok: true };
  return {
    ok: false,
    command,
    reason: `${manager.program} ended with status ${status}: ${output.trim().split('\n').at(-1) ?? ''}`,
  };
}

function findPackage(name: string, find: Find): { manager: Manager; packageName: string } | undefined {
  const manager = managers.find((candidate) => find(candidate.program) !== undefined);
  const packageName = manager?.names[name];
  return manager === undefined || packageName === undefined ? undefined : { manager, packageName };
}

async function prefixWithoutPrompt(
  manager: Manager,
  root: boolean,
  env: NodeJS.ProcessEnv,
  run: Run,
  find: Find,
): Promise<string[] | undefined> {
  if (!manager.root || root) return [];
  if (find('sudo') === undefined) return undefined;
  return (await run(['sudo', '-n', 'true'], env)).status === 0
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

const runQuietly: Run = ([program = '', ...argv], env) =>
  new Promise((resolve) => {
    let output = '';
    const child = spawn(program, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    // where no file is left for them, it has no streams
    for (const stream of [child.stdout, child.stderr] as const)
      stream?.on('data', (chunk: Buffer) => {
        output = (output + chunk.toString()).slice(-4000);
      });
    child.on('error', (error) => resolve({ status: 127, output: error.message }));
    child.once('close', (status) => resolve({ status: status ?? 1, output }));
  });

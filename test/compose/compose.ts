import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** The engine and Compose as they are on this machine; undefined where there is none. */
export function findCompose(): string[] | undefined {
  if (!works('docker', ['info'])) return undefined;
  if (works('docker', ['compose', 'version'])) return ['docker', 'compose'];
  return works('docker-compose', ['version']) ? ['docker-compose'] : undefined;
}

function works(program: string, argv: string[]): boolean {
  try {
    execFileSync(program, argv, { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** The project's stack under a name of its own, with ports of its own. */
export function composeStack(compose: readonly string[], project: string, env: NodeJS.ProcessEnv) {
  const [program = '', ...prefix] = compose;
  const options = { env: { ...process.env, COMPOSE_PROJECT_NAME: project, ...env }, maxBuffer: 64 * 1024 * 1024 };
  const call = async (...argv: string[]) =>
    (await run(program, [...prefix, '--profile', 'local-aws', ...argv], options)).stdout;
  const docker = async (...argv: string[]) => (await run('docker', argv, options)).stdout;
  const containers = async (service: string) =>
    (await call('ps', '-q', service))
      .trim()
      .split('\n')
      .filter((id) => id !== '');
  return {
    call,
    docker,
    containers,
    cvm: (...argv: string[]) => call('exec', '-T', 'worker', 'node', '/app/dist/cli/cvm.js', ...argv),
    kill: async (service: string) => {
      for (const id of await containers(service)) await docker('kill', '--signal', 'KILL', id);
    },
  };
}

export type Stack = ReturnType<typeof composeStack>;

/** Tries until it works, for as long as a stack may need. */
export async function eventually<T>(what: string, attempt: () => Promise<T>, withinMs = 120_000): Promise<T> {
  const deadline = Date.now() + withinMs;
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (Date.now() > deadline) throw new Error(`${what}: ${error instanceof Error ? error.message : error}`);
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
  }
}

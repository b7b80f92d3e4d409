import { execFile, execFileSync } from 'node:child_process';
import { promisify } from 'node:util';

const run = promisify(execFile);

export const image = 'cvm-gateway-test';
/** Valkey as docker-compose.yml names it, or, where the engine cannot get that one, what TEST_REDIS_IMAGE names. */
const redisImage = process.env.TEST_REDIS_IMAGE ?? '';
/** What the image is built with. */
export const revision = '0123456789abcdef0123456789abcdef01234567';

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

/** The project's stack under a name of its own, with ports of its own. No setting of this shell counts. */
export function composeStack(
  compose: readonly string[],
  { project, profile, env }: { project: string; profile: 'aws' | 'local-aws'; env: NodeJS.ProcessEnv },
) {
  // without the .env of this machine
  const [program = '', ...prefix] = [...compose, '--env-file', 'test/compose/no-settings.env'];
  const inherited = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(AWS|CVM|REDIS|LOG|COMPOSE)_/.test(name)),
  );
  const options = {
    env: {
      ...inherited,
      COMPOSE_PROJECT_NAME: project,
      COMPOSE_PROFILES: profile,
      CVM_IMAGE: image,
      CVM_REDIS_IMAGE: redisImage,
      ...env,
    },
    maxBuffer: 64 * 1024 * 1024,
  };
  const worker = profile === 'aws' ? 'worker' : 'worker-local';
  const call = async (...argv: string[]) => (await run(program, [...prefix, ...argv], options)).stdout;
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
    /** the service */
    worker,
    cvm: (...argv: string[]) => call('exec', '-T', worker, 'cvm', ...argv),
    kill: async (service: string) => {
      for (const id of await containers(service)) await docker('kill', '--signal', 'KILL', id);
    },
    healthOf: async (id: string) => (await docker('inspect', '-f', '{{.State.Health.Status}}', id)).trim(),
    down: () => call('down', '-v', '--remove-orphans', '-t', '5'),
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

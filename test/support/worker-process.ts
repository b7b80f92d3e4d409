import { type ChildProcess, spawn } from 'node:child_process';
import type { Gateway } from './gateway.ts';
import { cvm, onStandIn } from './program.ts';

/** A worker of this gateway as a process of its own, which a test can kill. It needs what `npm run build` makes. */
export function spawnWorker({ aws, redis }: Gateway, dataDir: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  const own = {
    PATH: process.env.PATH,
    CVM_DATA_DIR: dataDir,
    REDIS_URL: redis.url,
    LOG_LEVEL: 'warn',
    ...onStandIn(aws),
  };
  return spawn(process.execPath, [cvm, 'worker'], { env: { ...own, ...env }, stdio: 'ignore' });
}

import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Gateway } from './gateway.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');

/** A worker of this gateway as a process of its own, which a test can kill. It needs what `npm run build` makes. */
export function spawnWorker({ aws, redis }: Gateway, dataDir: string, env: NodeJS.ProcessEnv = {}): ChildProcess {
  const own = {
    PATH: process.env.PATH,
    CVM_DATA_DIR: dataDir,
    CVM_ROOT_CA: aws.rootCaFile,
    REDIS_URL: redis.url,
    LOG_LEVEL: 'warn',
    AWS_REGION: 'us-east-1',
    AWS_ACCESS_KEY_ID: 'test',
    AWS_SECRET_ACCESS_KEY: 'test',
    AWS_ENDPOINT_URL_IOT: aws.httpUrl,
    AWS_ENDPOINT_URL_DYNAMODB: aws.httpUrl,
  };
  return spawn(process.execPath, [cvm, 'worker'], { env: { ...own, ...env }, stdio: 'ignore' });
}

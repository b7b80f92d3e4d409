import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { setUpAws } from '../../app/aws-setup.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { loadSettings } from '../../runtime/settings.ts';
import { lacks } from '../support/lacks.ts';

const cvm = join(import.meta.dirname, '../../dist/cli/cvm.js');
const log = createLog('silent');

/** Why a Redis that is there takes nothing, and the cure that each part must say at its start. */
const refusals: readonly (readonly [string, (redis: Redis) => Promise<unknown>, RegExp])[] = [
  ['is full', (redis) => redis.config('SET', 'maxmemory', '1'), /memory of Redis is full.*raise its maxmemory/],
  ['is a replica', (redis) => redis.replicaof('127.0.0.1', '1'), /is a replica and cannot be written: name its master/],
  [
    'lets its user write nothing',
    (redis) => redis.acl('SETUSER', 'default', '-@write', '-@scripting'),
    /user of REDIS_URL may not do that in Redis: give it/,
  ],
  [
    'cannot write to its disk',
    async (redis) => {
      const [, dir = ''] = (await redis.config('GET', 'dir')) as string[];
      rmSync(dir, { recursive: true });
      await redis.config('SET', 'save', '1 1');
      await redis.set('x', 'x');
      await expect
        .poll(
          () =>
            redis
              .bgsave()
              .then(() => redis.set('x', 'x'))
              .catch(String),
          { timeout: 10_000 },
        )
        .toMatch(/MISCONF/);
    },
    /Redis cannot write to its disk.*free space there/,
  ],
  [
    'wants another password',
    (redis) => redis.config('SET', 'requirepass', 'another'),
    /Redis refuses; check user and password in REDIS_URL/,
  ],
];

describe.skipIf(lacks('redis-server'))('a Redis that is there, and', () => {
  let folder: string;
  let aws: AwsLocal;
  let server: EmbeddedRedis;
  const children: ChildProcess[] = [];
  beforeEach(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-refusing-'));
    aws = await startAwsLocal({ dataDir: join(folder, 'cloud'), httpPort: 0, mqttPort: 0, quotas: 'off', log });
    server = await startEmbeddedRedis({ dataDir: join(folder, 'redis'), log });
    const access = {
      region: 'us-east-1',
      endpoint: aws.httpUrl,
      credentials: { accessKeyId: 'a', secretAccessKey: 'b' },
    };
    await setUpAws({ ...loadSettings({}), aws: access });
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await server?.close();
    await aws?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  /** Starts a part. @returns what it has said so far, and its end */
  function start(part: string) {
    const env = {
      PATH: process.env.PATH ?? '',
      HOME: folder,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_ENDPOINT_URL_IOT: aws.httpUrl,
      AWS_ENDPOINT_URL_DYNAMODB: aws.httpUrl,
      CVM_ROOT_CA: aws.rootCaFile,
      CVM_DATA_DIR: join(folder, part),
      CVM_LISTEN: '127.0.0.1',
      CVM_MQTT_PORT: '0',
      CVM_CONSOLE_PORT: '0',
      CVM_BROKER_METRICS_PORT: 'off',
      CVM_WORKER_METRICS_PORT: 'off',
      LOG_FORMAT: 'json',
      REDIS_URL: server.url,
    };
    const child = spawn(process.execPath, [cvm, part], { env, stdio: ['ignore', 'ignore', 'pipe'] });
    children.push(child);
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString();
    });
    return { said: () => said, ended: new Promise((resolve) => child.once('close', resolve)) };
  }

  it.each(refusals)(
    '%s: broker, worker, console and cvm up say the cure at their start',
    async (what, refuse, cure) => {
      const redis = new Redis(server.url);
      redis.on('error', () => {});
      await refuse(redis);
      redis.disconnect();
      const parts = ['broker', 'worker', 'console', 'up'].map((part) => [part, start(part)] as const);
      for (const [part, { said }] of parts) {
        await expect.poll(said, { timeout: 20_000, message: `${part}: Redis ${what}` }).toMatch(cure);
        expect(said()).not.toMatch(/EXECABORT|fault of cvm itself/);
      }
    },
  );

  it('is full ends a broker with what Redis said of the command, and not of the transaction around it', async () => {
    const redis = new Redis(server.url);
    await redis.config('SET', 'maxmemory', '1');
    redis.disconnect();
    const { said, ended } = start('broker');
    expect(await ended).toBe(1);
    expect(said()).toMatch(
      /\ncvm: → The memory of Redis is full.*raise its maxmemory.*\n +why: OOM command not allowed/,
    );
  });
});

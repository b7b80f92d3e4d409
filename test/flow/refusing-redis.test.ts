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
import { isolated, onStandIn, programRuns } from '../support/program.ts';
import { full } from '../support/size.ts';

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
        .poll(() =>
          redis
            .bgsave()
            .then(() => redis.set('x', 'x'))
            .catch(String),
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

const all = ['broker', 'worker', 'console', 'up'];

/** Each refusal with its parts: two of the four, in turns, unless in the full size. */
const rows = refusals.map(([what, refuse, cure], index) => {
  const parts = full ? all : [0, 1].map((turn) => all[(2 * index + Math.floor(index / 2) + turn) % 4] as string);
  return { what, refuse, cure, parts, titled: parts.join(', ') };
});

describe.skipIf(lacks('redis-server'))('a Redis that is there, and', () => {
  let folder: string;
  let aws: AwsLocal;
  let server: EmbeddedRedis;
  const runs = programRuns();
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
    await runs.end('SIGKILL');
    await server?.close();
    await aws?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  const start = (part: string) =>
    runs.start([part], {
      ...isolated(join(folder, part)),
      ...onStandIn(aws),
      HOME: folder,
      LOG_FORMAT: 'json',
      REDIS_URL: server.url,
    });

  it.each(rows)('$what: parts say the cure at their start: $titled', async ({ what, refuse, cure, parts: names }) => {
    const redis = new Redis(server.url);
    redis.on('error', () => {});
    await refuse(redis);
    redis.disconnect();
    const parts = names.map((part) => [part, start(part)] as const);
    for (const [part, { text }] of parts) {
      await expect.poll(text, { message: `${part}: Redis ${what}` }).toMatch(cure);
      expect(text()).not.toMatch(/EXECABORT|fault of cvm itself/);
    }
  });

  it('is full ends a broker with what Redis said of the command, and not of the transaction around it', async () => {
    const redis = new Redis(server.url);
    await redis.config('SET', 'maxmemory', '1');
    redis.disconnect();
    const { text, ended } = start('broker');
    expect(await ended).toMatchObject({ status: 1 });
    expect(text()).toMatch(
      /\ncvm: → The memory of Redis is full.*raise its maxmemory.*\n +why: OOM command not allowed/,
    );
  });
});

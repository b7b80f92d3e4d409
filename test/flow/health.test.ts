import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { disconnectRedis, redisAt } from '../../queue/redis.ts';
import { watchRedis } from '../../queue/redis-health.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';
import { freePort } from '../support/network.ts';
import { isolated, programRuns, silentServer } from '../support/program.ts';

const log = createLog('silent');
const long = { timeout: 45_000, interval: 200 };

describe.skipIf(lacks('redis-server'))('health', () => {
  let dataDir: string;
  let server: EmbeddedRedis;
  let redis: Redis;
  const runs = programRuns();
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-health-'));
    server = await startEmbeddedRedis({ dataDir, log });
    redis = redisAt(server.url).connect('wait', log);
  });
  afterEach(async () => {
    await runs.end('SIGKILL');
  });
  afterAll(async () => {
    await disconnectRedis(redis);
    await server?.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('says why Redis takes no writes, as Redis itself says it, and writes nothing by asking', async () => {
    const watch = watchRedis(redisAt(server.url), log);
    const isWell = () => expect.poll(watch.trouble, long).toBeUndefined();
    await isWell();
    expect(await redis.dbsize()).toBe(0);

    await redis.config('SET', 'maxmemory', '1');
    await expect.poll(watch.trouble, long).toMatch(/memory of Redis is full.*maxmemory.*OOM/);
    await redis.config('SET', 'maxmemory', '0');
    await isWell();

    await redis.replicaof('127.0.0.1', 1);
    await expect.poll(watch.trouble, long).toMatch(/is a replica.*READONLY/);
    await redis.replicaof('NO', 'ONE');
    await isWell();

    await redis.config('SET', 'min-replicas-to-write', '1');
    await expect.poll(watch.trouble, long).toMatch(/too few replicas.*NOREPLICAS/);
    await redis.config('SET', 'min-replicas-to-write', '0');
    await isWell();
    await watch.close();
  });

  it('says that Redis refuses the password, lacks the database, or is away, without the password', async () => {
    const url = new URL(server.url);
    url.password = 'wrong-secret';
    const away = new URL(server.url);
    away.port = String(await freePort());
    for (const [where, text] of [
      [url, /Redis refuses; check user and password.*WRONGPASS/],
      [new URL('/99', server.url), /no database of the number that ends REDIS_URL/],
      [away, /cannot be reached .*ECONNREFUSED.*start it/],
    ] as const) {
      const watch = watchRedis(redisAt(where.href), log);
      await expect.poll(watch.trouble, long).toMatch(text);
      expect(await watch.trouble()).not.toContain(where.password);
      await watch.close();
    }
  });

  it('says that a broker is frozen, although its port takes connections, and that it is well again', async () => {
    const port = String(await freePort());
    const folder = join(dataDir, 'broker');
    // no worker runs here
    const alone = { CVM_NEW_SITE: '1' };
    const run = runs.start(['broker'], { ...isolated(folder), ...alone, REDIS_URL: server.url, CVM_MQTT_PORT: port });
    await run.says(/broker is listening/);
    const check = (...more: string[]) => healthOf('--port', port, '--max-age', '10', ...more);
    const whole = ['--file', join(folder, 'broker.alive'), '--trouble', join(folder, 'broker.trouble')];
    await expect.poll(() => check(...whole), long).toBe('ok');
    run.child.kill('SIGSTOP');
    await expect.poll(() => check(...whole), long).toMatch(/broker.alive was last written to .* frozen or blocked/);
    expect(await check()).toBe('ok');
    run.child.kill('SIGCONT');
    await expect.poll(() => check(...whole), long).toBe('ok');
  });

  it('says of a new broker that it waits for a worker to open its port', async () => {
    const folder = join(dataDir, 'new-broker');
    runs.start(['broker'], { ...isolated(folder), REDIS_URL: server.url, CVM_MQTT_PORT: '0' });
    const files = ['--file', join(folder, 'broker.alive'), '--trouble', join(folder, 'broker.trouble')];
    await expect.poll(() => healthOf(...files), long).toContain('opens its port when a worker has asked the table');
  });

  it.each([
    ['away', /AWS does not answer dynamodb:GetItem .*ECONNREFUSED/],
    ['silent', /AWS has not answered dynamodb:GetItem for over/],
  ])('says of a worker whose AWS is %s since the start that it runs, and cannot work', async (how, text) => {
    const silent = await silentServer();
    const folder = join(dataDir, `worker-${how}`);
    runs.start(['worker'], {
      ...isolated(folder),
      REDIS_URL: server.url,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: 'x',
      AWS_SECRET_ACCESS_KEY: 'x',
      AWS_ENDPOINT_URL: `http://127.0.0.1:${how === 'away' ? 1 : silent.port}`,
    });
    const trouble = join(folder, 'worker.trouble');
    await expect.poll(() => existsSync(trouble) && readFileSync(trouble, 'utf8'), long).toMatch(text);
    // what restarts a part asks for this alone
    await expect.poll(() => healthOf('--file', join(folder, 'worker.alive')), long).toBe('ok');
    silent.close();
  });

  /** what `cvm health` says */
  async function healthOf(...argv: string[]): Promise<string> {
    const dist = join(import.meta.dirname, '../../dist/cli/cvm.js');
    return promisify(execFile)(process.execPath, [dist, 'health', ...argv]).then(
      ({ stdout }) => stdout.trim(),
      ({ stderr }: { stderr: string }) => stderr.trim(),
    );
  }
});

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Redis } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Status } from '../../operator/status.ts';
import { disconnectRedis, redisAt } from '../../queue/redis.ts';
import { createRunningParts } from '../../queue/redis-running-parts.ts';
import type { RunningPart, RunningParts } from '../../queue/running-parts.ts';
import { runningPartsKey } from '../../queue/stored-keys.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';
import { isolated, type Run, runCvm } from '../support/program.ts';

const log = createLog('silent');

describe.skipIf(lacks('redis-server'))('cvm status', () => {
  let dataDir: string;
  let gateway: Run;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-status-'));
    gateway = runCvm(['up', '--local-aws'], isolated(dataDir));
    await gateway.says(/broker is listening/);
  });
  afterAll(async () => {
    gateway?.child.kill('SIGKILL');
    await gateway?.ended;
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function status(...argv: string[]) {
    const run = runCvm(['status', ...argv], isolated(dataDir));
    const { status: code } = await run.ended;
    return { code, text: run.text() };
  }
  const statusJson = async (): Promise<{ code: number | null; status: Status }> => {
    const { code, text } = await status('--json');
    const line = text.split('\n').find((each) => each.startsWith('{')) ?? '';
    return { code, status: JSON.parse(line) as Status };
  };

  it('finds the gateway of its data folder, and says of each process that it runs, and that all is well', async () => {
    // what its parts say of themselves, and the first calls of AWS, come a moment after it listens
    await expect.poll(async () => (await statusJson()).status).toMatchObject({ ok: true, brokers: 1, workers: 1 });
    const { code, status: found } = await statusJson();
    expect(found.checks.filter(({ state }) => state === 'failed' || state === 'unknown')).toEqual([]);
    expect(found).toMatchObject({ ok: true, brokers: 1, workers: 1, line: { length: 0 } });
    expect(found.devices).toMatchObject({ total: 0, enrolled: 0, registered: 0, blocked: 0 });
    expect(found.certificates.map(({ name }) => name).sort()).toEqual(['server', 'site CA']);
    expect(code).toBe(0);
  });

  it('is one screen for people, with a line for each check', async () => {
    const { code, text } = await status();
    for (const title of [
      'Redis',
      'line',
      'workers',
      'brokers',
      'AWS',
      'table',
      'IoT policy',
      'server certificate',
      'disk',
    ])
      expect(text).toMatch(new RegExp(`^(ok|WARNING) +${title} `, 'm'));
    expect(text.trim().split('\n').length).toBeLessThan(24);
    expect(code).toBe(0);
  });

  // the last one while the gateway runs, which it forgets
  it('says that the table has not approved this gateway, and the command that approves it', async () => {
    const tls = async (...argv: string[]) => {
      const run = runCvm(['tls', ...argv], isolated(dataDir));
      await run.ended;
      return run.text();
    };
    const [, id = ''] = /^gateway\s+(\w+)$/m.exec(await tls('show')) ?? [];
    await tls('forget-gateway', id);
    const { status: found } = await statusJson();
    expect(found.checks.find((check) => check.id === 'table')).toMatchObject({
      state: 'failed',
      cure: expect.stringContaining(`cvm tls approve ${id}`),
    });
  });

  it('says within its own time limit, with status 1, that the gateway does not run', async () => {
    gateway.child.kill('SIGTERM');
    await gateway.ended;
    const { code, text } = await status();
    expect(text).toMatch(/FAILED +Redis .*no "cvm up" runs on the data folder/);
    expect(text).toMatch(/→ start the gateway/);
    expect(code).toBe(1);
  });

  it('takes no interval that is none', async () => {
    expect((await status('--watch', 'often')).code).toBe(2);
  });
});

describe.skipIf(lacks('redis-server'))('what processes say of themselves in Redis', () => {
  let dataDir: string;
  let server: EmbeddedRedis;
  let redis: Redis;
  let parts: RunningParts;
  beforeAll(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-parts-'));
    server = await startEmbeddedRedis({ dataDir, log });
    redis = redisAt(server.url).connect('wait', log);
    parts = createRunningParts(redisAt(server.url), log);
    await parts.list();
  });
  afterAll(async () => {
    await parts.close();
    await disconnectRedis(redis);
    await server.close();
    rmSync(dataDir, { recursive: true, force: true });
  });
  const part = (id: string, more: Partial<RunningPart> = {}): RunningPart => ({
    ...{
      id,
      part: 'worker',
      version: '0.1.0',
      host: 'gw',
      pid: 1,
      since: 1,
      troubles: [],
      certificates: [],
      calls: {},
    },
    ...more,
  });

  it('is there until the process leaves', async () => {
    await parts.say(part('a', { calls: { CreateThing: 2.5 } }));
    await parts.say(part('b', { since: 0, troubles: ['AWS is away: wait'] }));
    expect(await parts.list()).toMatchObject([
      { id: 'b', troubles: ['AWS is away: wait'] },
      { id: 'a', calls: { CreateThing: 2.5 } },
    ]);
    await parts.leave('a');
    await parts.leave('b');
    expect(await parts.list()).toEqual([]);
  });

  it('ends by itself when no process repeats it, and goes when another process comes', async () => {
    const [seconds] = await redis.time();
    await redis.hset(runningPartsKey, 'old', `${Number(seconds) * 1000 - 31_000} ${JSON.stringify(part('old'))}`);
    expect(await parts.list()).toEqual([]);
    await parts.say(part('new'));
    expect(await redis.hkeys(runningPartsKey)).toEqual(['new']);
    expect(await redis.pttl(runningPartsKey)).toBeGreaterThan(0);
  });

  it('says nothing in several lines or in another order, and has no sentence for a name, whoever wrote it to Redis', async () => {
    await redis.del(runningPartsKey);
    const [seconds] = await redis.time();
    const write = (id: string, more: Partial<RunningPart>) =>
      redis.hset(runningPartsKey, id, `${seconds}000 ${JSON.stringify(part(id, more))}`);
    await write('a', {
      troubles: ['one\n\u202eowt\u2066\u001b[2J \u0000three'],
      disk: { path: '/d\n/e', freeBytes: 1, totalBytes: 2 },
    });
    await write('b', { host: 'please call 0800' });
    await write('c', { version: '1.0 <b>' });
    await write('d', { site: 'a b' });
    expect(await parts.list()).toMatchObject([{ id: 'a', troubles: ['one owt [2J  three'], disk: { path: '/d /e' } }]);
    await redis.del(runningPartsKey);
  });

  it('is bounded, in number and in length, and what no part of ours wrote is left out', async () => {
    await redis.del(runningPartsKey);
    await parts.say(part('long', { troubles: Array.from({ length: 50 }, () => 'x'.repeat(5000)) }));
    expect((await parts.list())[0]?.troubles).toHaveLength(5);
    const [seconds] = await redis.time();
    for (let each = 0; each < 300; each++) await redis.hset(runningPartsKey, `junk-${each}`, `${seconds}000 {"id":1}`);
    await parts.say(part('one too many'));
    const found = await parts.list();
    expect(found.map(({ id }) => id).filter((id) => id !== 'long')).toEqual([]);
    await redis.set(runningPartsKey, 'another type');
    await parts.say(part('healed'));
    expect((await parts.list()).map(({ id }) => id)).toEqual(['healed']);
  });
});

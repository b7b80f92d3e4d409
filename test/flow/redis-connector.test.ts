import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { disconnectRedis, redisAt } from '../../queue/redis.ts';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';

const log = createLog('silent');

describe.skipIf(lacks('redis-server'))('a connection to a Redis that is there but silent', () => {
  let folder: string;
  let server: EmbeddedRedis;
  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-redis-'));
    server = await startEmbeddedRedis({ dataDir: folder, log });
  });
  afterEach(() => process.kill(server.pid, 'SIGCONT'));
  afterAll(async () => {
    await server?.close();
    rmSync(folder, { recursive: true, force: true });
  });

  it('fails the command of a device that waits, is replaced, and serves again when Redis does', async () => {
    const redis = redisAt(server.url, { commandMs: 100, silentMs: 300 }).connect('answer-now', log);
    await expect.poll(() => redis.status).toBe('ready');
    const replaced = new Promise((resolve) => redis.once('close', resolve));
    process.kill(server.pid, 'SIGSTOP');
    await expect(redis.ping()).rejects.toThrow(/timed out/);
    await replaced;
    process.kill(server.pid, 'SIGCONT');
    await expect.poll(() => redis.ping().catch(() => ''), { timeout: 5000 }).toBe('PONG');
    await disconnectRedis(redis);
  });

  it('is replaced while we wait as well, and the command is answered by the next connection', async () => {
    const redis = redisAt(server.url, { silentWhileWaitingMs: 300 }).connect('wait', log);
    await redis.ping();
    const replaced = new Promise((resolve) => redis.once('close', resolve));
    process.kill(server.pid, 'SIGSTOP');
    const answer = redis.ping();
    await replaced;
    process.kill(server.pid, 'SIGCONT');
    expect(await answer).toBe('PONG');
    await disconnectRedis(redis);
  });

  it('gives a blocking command of a BullMQ worker, which takes up to 10 s, the time that it needs', async () => {
    const redis = redisAt(server.url).connect('wait', log);
    expect(redis.options.commandTimeout).toBeUndefined();
    expect(redis.options.socketTimeout).toBeGreaterThan(10_000);
    await disconnectRedis(redis);
  });
});

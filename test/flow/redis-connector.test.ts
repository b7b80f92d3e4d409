import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { disconnectRedis, redisAt, redisWarnings, untilFirstTried } from '../../queue/redis.ts';
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
    await expect.poll(() => redis.ping().catch(() => '')).toBe('PONG');
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

  it('is none where Redis has no such database, instead of one to database 0, and names the cure', async () => {
    const lines: string[] = [];
    const told = createLog('info', { write: (line: string) => void lines.push(line) });
    const connector = redisAt(new URL('/99', server.url).href);
    const [now, waiting] = [connector.connect('answer-now', told), connector.connect('wait', told)];
    const states: string[] = [];
    for (const redis of [now, waiting]) redis.on('ready', () => states.push('ready'));
    void waiting.set('astray', '1').catch(() => {});
    await expect.poll(() => lines.join()).toContain('no database of the number');
    await sleep(300);
    await expect(now.set('astray', '1')).rejects.toThrow();
    expect(states).toEqual([]);
    expect(lines).toHaveLength(1);
    const zero = redisAt(server.url).connect('wait', log);
    expect(await zero.exists('astray')).toBe(0);
    for (const redis of [now, waiting, zero]) await disconnectRedis(redis);
  });

  it('says at start that its clock and ours are far apart', async () => {
    const redis = redisAt(server.url).connect('wait', log);
    expect(await redisWarnings(redis)).toEqual([]);
    const ahead = () => Date.now() + 7_200_000;
    expect(await redisWarnings(redis, ahead)).toEqual([expect.stringMatching(/clock of Redis .*NTP/)]);
    await disconnectRedis(redis);
  });

  it('is replaced although nothing is asked on it, since announcements would be missed', async () => {
    const redis = redisAt(server.url, { probeMs: 50, probeAnswerMs: 300 }).connect('wait', log);
    const heard: string[] = [];
    redis.on('message', (_channel, text) => heard.push(text));
    await redis.subscribe('news');
    const replaced = new Promise((resolve) => redis.once('close', resolve));
    process.kill(server.pid, 'SIGSTOP');
    await replaced;
    process.kill(server.pid, 'SIGCONT');
    const other = redisAt(server.url).connect('wait', log);
    await expect.poll(() => other.publish('news', 'again').then(() => heard.length)).toBeGreaterThan(0);
    for (const each of [redis, other]) await disconnectRedis(each);
  });

  it('gives a blocking command of a BullMQ worker, which takes up to 10 s, the time that it needs', async () => {
    const redis = redisAt(server.url).connect('wait', log);
    expect(redis.options.commandTimeout).toBeUndefined();
    expect(redis.options.socketTimeout).toBeGreaterThan(10_000);
    await disconnectRedis(redis);
  });
});

describe.skipIf(lacks('redis-server'))('a connection to a Redis that was demoted to a replica', () => {
  const folders: string[] = [];
  const servers: EmbeddedRedis[] = [];
  beforeAll(async () => {
    for (const name of ['one', 'other']) {
      const folder = mkdtempSync(join(tmpdir(), `cvm-redis-${name}-`));
      folders.push(folder);
      servers.push(await startEmbeddedRedis({ dataDir: folder, log }));
    }
  });
  afterAll(async () => {
    for (const server of servers) await server.close();
    for (const folder of folders) rmSync(folder, { recursive: true, force: true });
  });

  it.each(['answer-now', 'wait'] as const)(
    'is made anew, since its address may lead to the new master, and the command is repeated there: %s',
    async (use) => {
      const [one, other] = servers.map(({ url }) => new URL(url));
      // an address that moves, as with a virtual IP or a name of Kubernetes; connections that stand stay where they are
      let master = one;
      const address = createServer((socket) => {
        const server = connect(Number(master?.port), '127.0.0.1');
        socket.pipe(server).pipe(socket);
        for (const each of [socket, server]) each.on('error', () => {}).on('close', () => socket.destroy());
        socket.on('close', () => server.destroy());
      });
      await new Promise<void>((resolve) => address.listen(0, '127.0.0.1', resolve));
      const url = new URL(one?.href ?? '');
      url.port = String((address.address() as AddressInfo).port);
      const redis = redisAt(url.href).connect(use, log);
      await expect.poll(() => redis.status).toBe('ready');
      await redis.set('before', '1');

      const promoted = redisAt(other?.href ?? '').connect('wait', log);
      // as after a replication
      await promoted.config('SET', 'requirepass', one?.password ?? '');
      const demoted = redisAt(one?.href ?? '').connect('wait', log);
      await demoted.replicaof('127.0.0.1', Number(other?.port));
      master = other;
      await expect.poll(() => redis.set('after', '2').catch((error: Error) => error.message)).toBe('OK');
      expect(await promoted.get('after')).toBe('2');

      await demoted.replicaof('NO', 'ONE');
      await promoted.config('SET', 'requirepass', other?.password ?? '');
      for (const each of [redis, demoted, promoted]) await disconnectRedis(each);
      address.close();
    },
  );
});

it('that is awaited again and again while it cannot be made keeps no listener of those who waited', async () => {
  const silent = createServer((socket) => socket.resume());
  await new Promise<void>((resolve) => silent.listen(0, '127.0.0.1', resolve));
  const { port } = silent.address() as AddressInfo;
  const redis = redisAt(`redis://127.0.0.1:${port}`).connect('answer-now', log);
  const kept = () => redis.listenerCount('ready') + redis.listenerCount('close');
  await expect.poll(() => redis.status).toBe('connect');
  const before = kept();
  await Promise.all(Array.from({ length: 20 }, () => untilFirstTried(redis)));
  expect(kept()).toBe(before);
  redis.disconnect();
  await new Promise((resolve) => silent.close(resolve));
});

import { type ChildProcess, execFile, spawn, spawnSync } from 'node:child_process';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { findCommand } from '../../runtime/system-packages.ts';
import { find, lacks } from '../support/lacks.ts';

const log = createLog('silent');
const built = join(import.meta.dirname, '../../dist');

/** A process that runs a Redis in a data folder as a gateway does, until it is killed. */
const gateway = `
  const { startEmbeddedRedis } = await import('${built}/runtime/embedded-redis.js');
  const { createLog } = await import('${built}/runtime/log.js');
  const { url, pid } = await startEmbeddedRedis({ dataDir: process.argv[1], log: createLog('silent') });
  console.log(JSON.stringify({ url, pid }));
  setInterval(() => {}, 1000);
`;

describe.skipIf(lacks('redis-server'))('the Redis of a gateway', () => {
  let dataDir: string;
  let other: ChildProcess | undefined;
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-embedded-'));
  });
  afterEach(async () => {
    await kill();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function startOther(): Promise<{ url: string; pid: number }> {
    const child = spawn(process.execPath, ['--input-type=module', '-e', gateway, dataDir], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    other = child;
    const line = await new Promise<string>((resolve) => child.stdout.once('data', (chunk) => resolve(String(chunk))));
    return JSON.parse(line) as { url: string; pid: number };
  }
  async function kill(): Promise<void> {
    if (other === undefined || other.signalCode !== null) return;
    const gone = new Promise((resolve) => other?.once('exit', resolve));
    other.kill('SIGKILL');
    await gone;
  }
  it('has files and folders that only its user can read, also those of an earlier version', async () => {
    const before = process.umask(0o022);
    try {
      mkdirSync(join(dataDir, 'redis/appendonlydir'), { recursive: true, mode: 0o755 });
      writeFileSync(join(dataDir, 'redis/appendonlydir/old.aof'), '', { mode: 0o644 });
      const redis = await startEmbeddedRedis({ dataDir, log });
      const client = new Redis(redis.url);
      await client.set('a', '1');
      client.disconnect();
      const entries = readdirSync(join(dataDir, 'redis'), { withFileTypes: true, recursive: true });
      const modes = entries.map((entry) => [
        entry.name,
        statSync(join(entry.parentPath, entry.name)).mode & 0o777,
        entry.isDirectory() ? 0o700 : 0o600,
      ]);
      expect(modes.map(([name]) => name)).toContainEqual(expect.stringMatching(/incr\.aof$/));
      expect(modes.filter(([, mode, wanted]) => mode !== wanted)).toEqual([]);
      expect(statSync(join(dataDir, 'redis')).mode & 0o777).toBe(0o700);
      expect(process.umask()).toBe(0o022);
      await redis.close();
    } finally {
      process.umask(before);
    }
  });

  async function ping(url: string): Promise<string> {
    const redis = new Redis(url, { retryStrategy: () => null });
    redis.on('error', () => {});
    try {
      return await redis.ping();
    } finally {
      redis.disconnect();
    }
  }

  it('is not touched by a second gateway on its data folder, which names the first and ends with status 1', async () => {
    const { url, pid } = await startOther();
    await expect(startEmbeddedRedis({ dataDir, log })).rejects.toThrow(
      `running on the data folder ${dataDir} already (process ${other?.pid})`,
    );
    const env = { PATH: process.env.PATH, CVM_DATA_DIR: dataDir, CVM_LISTEN: '127.0.0.1' };
    const up = promisify(execFile)(process.execPath, [join(built, 'cli/cvm.js'), 'up', '--local-aws'], { env });
    await expect(up).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^cvm: a gateway is running on/m),
    });
    // the first one has its ports as well, and a port is not what is to be mended
    const port = await new Promise<number>((resolve) => {
      const taken = createServer().listen(0, '127.0.0.1', () => resolve((taken.address() as AddressInfo).port));
      onTestFinished(() => void taken.close());
    });
    const onTakenPort = { env: { ...env, CVM_BROKER_METRICS_PORT: String(port) } };
    await expect(
      promisify(execFile)(process.execPath, [join(built, 'cli/cvm.js'), 'up', '--local-aws'], onTakenPort),
    ).rejects.toMatchObject({ code: 1, stderr: expect.stringMatching(/^cvm: a gateway is running on/m) });
    expect(await ping(url)).toBe('PONG');
    // set now, so that a failure above still ends the process
    await kill();
    process.kill(pid, 'SIGKILL');
  });

  it('may be a valkey-server, where the machine has no redis-server, and one that a killed gateway left behind is ended', async () => {
    const folder = join(dataDir, 'programs');
    mkdirSync(folder);
    symlinkSync(find('valkey-server') ?? find('redis-server') ?? '', join(folder, 'valkey-server'));
    vi.stubEnv('PATH', folder);
    onTestFinished(() => void vi.unstubAllEnvs());
    const { url, pid } = await startOther();
    expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toMatch(/^valkey-server/);
    const client = new Redis(url);
    await client.set('promised', 'yes');
    client.disconnect();
    await kill();
    const again = await startEmbeddedRedis({ dataDir, log });
    onTestFinished(() => again.close());
    await expect(ping(url)).rejects.toThrow();
    const reader = new Redis(again.url);
    expect(await reader.get('promised')).toBe('yes');
    reader.disconnect();
  });

  it('is of no use to other users of the machine: nothing is answered without a password that they cannot find', async () => {
    const server = await startEmbeddedRedis({ dataDir, log });
    const url = new URL(server.url);
    const { password } = url;
    for (const wrong of ['', 'x'.repeat(64)]) {
      url.password = wrong;
      await expect(ping(url.href)).rejects.toThrow(/NOAUTH|WRONGPASS|Connection is closed/);
    }
    const own = new Redis(server.url);
    expect(await own.config('GET', 'bind')).toEqual(['bind', '127.0.0.1']);
    await own.quit();
    expect(password).toMatch(/^[0-9a-f]{64}$/);
    for (const what of ['cmdline', 'environ'])
      expect(readFileSync(`/proc/${server.pid}/${what}`, 'utf8')).not.toContain(password);
    expect(statSync(join(dataDir, 'redis')).mode & 0o077).toBe(0);
    await server.close();
    const again = await startEmbeddedRedis({ dataDir, log });
    expect(new URL(again.url).password).not.toBe(password);
    await again.close();
  });

  it('is in a process group of its own, so that Ctrl-C in the terminal does not end it before the gateway', async () => {
    const dataDir = mkdtempSync(join(tmpdir(), 'cvm-group-'));
    const redis = await startEmbeddedRedis({ dataDir, log });
    // the fields after the name in parentheses: state, parent, process group (proc(5))
    const groupOf = (pid: number) => Number(readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ')[2]);
    expect(groupOf(redis.pid)).toBe(redis.pid);
    expect(groupOf(process.pid)).not.toBe(redis.pid);
    await redis.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('of a killed gateway is ended, and the next one starts on its data', async () => {
    const { url } = await startOther();
    const before = new Redis(url);
    await before.set('key', 'kept');
    before.disconnect();
    await kill();
    const redis = await startEmbeddedRedis({ dataDir, log });
    await expect(ping(url)).rejects.toThrow();
    const after = new Redis(redis.url);
    expect(await after.get('key')).toBe('kept');
    after.disconnect();
    await redis.close();
  });

  it('leaves the folder free when it did not start, was closed, or was killed', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as AddressInfo;
    await expect(startEmbeddedRedis({ dataDir, log, port })).rejects.toThrow(
      /did not start: .*Another process has its port/,
    );
    taken.close();
    for (const end of ['close', 'kill', 'close'] as const) {
      const redis = await startEmbeddedRedis({ dataDir, log });
      await redis[end]();
    }
    expect(readdirSync(join(dataDir, 'redis')).filter((name) => name.startsWith('owner.'))).toHaveLength(1);
  });
});

/** A `redis-server` that says that the disk is full as long as there is a file `full` beside it. */
function withFullDisk(folder: string): { fill(): void; free(): void } {
  const real = findCommand('redis-server', process.env.PATH ?? '');
  const full = join(folder, 'full');
  const script = `#!/bin/sh
if [ -e ${full} ]; then echo '9:M 27 Nov 2026 23:00:00.000 # Error writing to the AOF file: No space left on device'; exit 1; fi
exec ${real} "$@"
`;
  writeFileSync(join(folder, 'redis-server'), script, { mode: 0o755 });
  vi.stubEnv('PATH', `${folder}:${process.env.PATH}`);
  return { fill: () => writeFileSync(full, ''), free: () => rmSync(full, { force: true }) };
}

describe.skipIf(lacks('redis-server'))('the Redis of a gateway that ends', () => {
  let dataDir: string;
  let server: EmbeddedRedis | undefined;
  const lost: Error[] = [];
  beforeEach(() => {
    dataDir = mkdtempSync(join(tmpdir(), 'cvm-embedded-'));
    lost.length = 0;
  });
  afterEach(async () => {
    vi.unstubAllEnvs();
    await server?.close();
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function open(times: NonNullable<Parameters<typeof startEmbeddedRedis>[0]['times']> = {}, to = log) {
    server = await startEmbeddedRedis({ dataDir, log: to, times, onLost: (error) => lost.push(error) });
    const client = new Redis(server.url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
    client.on('error', () => {});
    await client.set('key', 'kept');
    return { server, client };
  }
  const appendOnly = () => {
    const folder = join(dataDir, 'redis', 'appendonlydir');
    return join(folder, readdirSync(folder).find((name) => name.endsWith('.incr.aof')) ?? '');
  };

  it.each(['SIGKILL', 'SIGTERM'] as const)('by %s is started again on the same port, with its data', async (signal) => {
    const { server, client } = await open();
    const { pid, url } = server;
    process.kill(pid, signal);
    await expect.poll(() => server.pid).not.toBe(pid);
    expect(await client.get('key')).toBe('kept');
    expect(server.url).toBe(url);
    client.disconnect();
    expect(lost).toEqual([]);
  });

  it('frozen is killed and started again; one that only pauses is not', async () => {
    // a busy machine may add a second to a pause
    const answerMs = 3000;
    const { server, client } = await open({ probeMs: 50, answerMs });
    const { pid } = server;
    process.kill(pid, 'SIGSTOP');
    await new Promise((resolve) => setTimeout(resolve, 300));
    process.kill(pid, 'SIGCONT');
    await new Promise((resolve) => setTimeout(resolve, answerMs + 500));
    expect(server.pid).toBe(pid);
    process.kill(pid, 'SIGSTOP');
    await expect.poll(() => server.pid).not.toBe(pid);
    expect(await client.get('key')).toBe('kept');
    client.disconnect();
  });

  it('frozen, while its process cannot be noted, is started again when it can be, and none is left behind', async () => {
    const said: string[] = [];
    const heard = createLog('error', { write: (line: string) => void said.push(line) });
    const tries = { restartMs: Array.from({ length: 100 }, () => 100), probeMs: 50, answerMs: 3000 };
    const { server, client } = await open(tries, heard);
    const note = join(dataDir, 'redis/redis.pid');
    rmSync(note);
    // a folder can neither be written nor removed as the file is, as little as the file of a disk that can only be read
    mkdirSync(note);
    process.kill(server.pid, 'SIGSTOP');
    await expect.poll(() => said.join('')).toContain('"reason":"EISDIR');
    rmdirSync(note);
    const answering = async () => Number(/process_id:(\d+)/.exec(await client.info('server'))?.[1]);
    await expect.poll(async () => server.pid === (await answering())).toBe(true);
    expect(await client.get('key')).toBe('kept');
    client.disconnect();
    expect(lost).toEqual([]);
  });

  it('since the disk is full is started again by itself when space is free', async () => {
    const disk = withFullDisk(dataDir);
    const { server, client } = await open({ restartMs: Array.from({ length: 50 }, () => 100) });
    disk.fill();
    process.kill(server.pid, 'SIGKILL');
    await expect.poll(() => server.pid).toBe(0);
    disk.free();
    expect(await client.get('key')).toBe('kept');
    client.disconnect();
    expect(lost).toEqual([]);
  });

  it('each time it starts is given up after a bounded number of tries, with cause and cure', async () => {
    const disk = withFullDisk(dataDir);
    const { server, client } = await open({ restartMs: [0, 10, 10] });
    client.disconnect();
    disk.fill();
    process.kill(server.pid, 'SIGKILL');
    await expect.poll(() => lost.length).toBe(1);
    expect(lost[0]?.message).toMatch(
      /cannot be kept running \(3 tries\): .*No space left on device\. Free space on the disk of .*redis, and start the gateway again$/,
    );
  });

  it('is started on the port again when another process has taken it for a while', async () => {
    const said: string[] = [];
    const heard = createLog('error', { write: (line: string) => void said.push(line) });
    // in the first pause the other process comes, which must be there before the server is back
    const { server, client } = await open({ restartMs: [3000, ...Array.from({ length: 50 }, () => 100)] }, heard);
    const port = Number(new URL(server.url).port);
    process.kill(server.pid, 'SIGKILL');
    const other = createServer((socket) => socket.destroy());
    await expect
      .poll(
        () =>
          new Promise((resolve) =>
            other.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true)),
          ),
      )
      .toBe(true);
    await expect.poll(() => said.join('')).toContain('Another process has its port');
    await new Promise((resolve) => other.close(resolve));
    expect(await client.get('key')).toBe('kept');
    client.disconnect();
  });

  it('in the middle of a write starts with all that was acknowledged', async () => {
    const { server: first, client } = await open();
    client.disconnect();
    await first.kill();
    appendFileSync(appendOnly(), '*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$100\r\nhal');
    const { client: again } = await open();
    expect(await again.get('key')).toBe('kept');
    again.disconnect();
  });

  it('after a power cut that left zeros in its file starts with all that was acknowledged', async () => {
    const { server: first, client } = await open();
    client.disconnect();
    await first.kill();
    appendFileSync(appendOnly(), `*3\r\n$3\r\nSET\r\n$5\r\nother\r\n$100\r\nhal${'\0'.repeat(70_000)}`);
    const { client: again } = await open();
    expect(await again.get('key')).toBe('kept');
    again.disconnect();
  });

  it('with a damaged append-only file is not started, and the cure is named', async () => {
    const { server: first, client } = await open();
    client.disconnect();
    await first.kill();
    server = undefined;
    appendFileSync(appendOnly(), `${'\0'.repeat(64)}*1\r\n`);
    await expect(startEmbeddedRedis({ dataDir, log })).rejects.toThrow(
      /did not start: .*damaged.*redis-check-aof --fix/s,
    );
  });

  it.each(['process.exit(3)', 'throw new Error("a fault")', 'process.kill(process.pid, "SIGHUP")'])(
    'is not left behind by a gateway that ends by %s',
    async (end) => {
      const script = `
        const { startEmbeddedRedis } = await import('${built}/runtime/embedded-redis.js');
        const { createLog } = await import('${built}/runtime/log.js');
        const { createLifecycle } = await import('${built}/runtime/lifecycle.js');
        const lifecycle = createLifecycle(createLog('silent'));
        const { pid } = lifecycle.add(await startEmbeddedRedis({ dataDir: process.argv[1], log: createLog('silent') }));
        lifecycle.untilEnd().then(() => lifecycle.close());
        console.log(pid);
        setTimeout(() => { ${end} }, 100);
      `;
      const { stdout } = spawnSync(process.execPath, ['--input-type=module', '-e', script, dataDir], {
        encoding: 'utf8',
      });
      expect(Number(stdout)).toBeGreaterThan(0);
      await expect.poll(() => existsSync(`/proc/${stdout.trim()}/cwd`)).toBe(false);
    },
  );
});

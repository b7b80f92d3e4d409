import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { Redis } from 'ioredis';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { lacks } from '../support/lacks.ts';

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
    expect(await ping(url)).toBe('PONG');
    // set now, so that a failure above still ends the process
    await kill();
    process.kill(pid, 'SIGKILL');
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
    await expect(startEmbeddedRedis({ dataDir, log, port })).rejects.toThrow('did not start');
    taken.close();
    for (const end of ['close', 'kill', 'close'] as const) {
      const redis = await startEmbeddedRedis({ dataDir, log });
      await redis[end]();
    }
    expect(readdirSync(join(dataDir, 'redis')).filter((name) => name.startsWith('owner.'))).toHaveLength(1);
  });
});

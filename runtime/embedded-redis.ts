import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { type Lock, LockHeld, takeLock } from './lock.ts';
import type { Log } from './log.ts';

export type EmbeddedRedis = {
  readonly name: 'redis';
  readonly url: string;
  readonly pid: number;
  close(): Promise<void>;
  /** Ends it as a power cut would. Resolves when the process has ended. */
  kill(): Promise<void>;
};

const startMs = 30_000;

type Options = { dataDir: string; log: Log; port?: number; password?: string };

/**
 * Starts `redis-server` as a child on a free port of 127.0.0.1, with its data in `<dataDir>/redis`. Each start makes a new
 * password and passes it through standard input, so that it is in no file and in no process list.
 * @throws with code ENOENT when no redis-server is on PATH; also when another gateway runs on this data folder
 */
export async function startEmbeddedRedis(options: Options): Promise<EmbeddedRedis> {
  const folder = join(options.dataDir, 'redis');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const owner = await lockFolder(folder, options.dataDir);
  try {
    return await startServer(folder, owner, options);
  } catch (error) {
    owner.release();
    throw error;
  }
}

/** The lock is held for as long as Redis runs here: no other gateway may end a server whose gateway lives. */
async function lockFolder(folder: string, dataDir: string): Promise<Lock> {
  try {
    return await takeLock(join(folder, 'owner'), 0);
  } catch (error) {
    if (!(error instanceof LockHeld)) throw error;
    throw new Error(
      `a gateway is running on the data folder ${dataDir} already (${error.holder}); stop it first, or give this one a CVM_DATA_DIR of its own`,
    );
  }
}

async function startServer(folder: string, owner: Lock, options: Options): Promise<EmbeddedRedis> {
  const { log } = options;
  const pidFile = join(folder, 'redis.pid');
  await endOrphan(pidFile, folder, log);

  const port = options.port ?? (await freePort());
  const password = options.password ?? randomBytes(32).toString('hex');
  // in a process group of its own: Ctrl-C in the terminal must not end it before the gateway has closed
  const child = spawn('redis-server', ['-'], { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-2000);
    });
  }
  const ended = new Promise<number | null>((resolve) => child.once('close', resolve));
  await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  child.stdin.end(configuration(folder, port, password));
  writeFileSync(pidFile, String(child.pid), { mode: 0o600 });

  let closing = false;
  void ended.then((status) => {
    if (!closing)
      log.error(
        { status, output: output.trim().split('\n').slice(-3) },
        'the embedded Redis ended by itself: restart the gateway, which can store and answer nothing until then',
      );
  });
  const url = `redis://:${password}@127.0.0.1:${port}/0`;
  await untilReady(url, child, () => output);
  return {
    name: 'redis',
    url,
    pid: child.pid ?? 0,
    async close() {
      closing = true;
      child.kill('SIGTERM');
      await ended;
      if (orphanIn(pidFile, folder) === undefined) rmSync(pidFile, { force: true });
      owner.release();
    },
    async kill() {
      closing = true;
      child.kill('SIGKILL');
      await ended;
      owner.release();
    },
  };
}

/** Every acknowledged write is on disk, and none is dropped when memory is short: a PUBACK is a promise. */
function configuration(folder: string, port: number, password: string): string {
  const lines = [
    'bind 127.0.0.1',
    `port ${port}`,
    `requirepass ${password}`,
    `dir "${folder}"`,
    'appendonly yes',
    'appendfsync always',
    'maxmemory-policy noeviction',
    'save ""',
    'daemonize no',
    'protected-mode yes',
  ];
  return `${lines.join('\n')}\n`;
}

async function untilReady(url: string, child: ChildProcess, output: () => string): Promise<void> {
  const redis = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  redis.on('error', () => {});
  const ready = redis.ping().then(() => 'ready' as const);
  const ended = new Promise<'ended'>((resolve) => child.once('exit', () => resolve('ended')));
  const outcome = await Promise.race([ready, ended, sleep(startMs, 'late' as const, { ref: false })]);
  redis.disconnect();
  ready.catch(() => {});
  if (outcome === 'ready') return;
  child.kill('SIGKILL');
  throw new Error(
    `redis-server did not start: ${outcome === 'late' ? `no answer within ${startMs / 1000} s` : output().trim()}`,
  );
}

/** Two servers on one append-only file destroy it: a server that a killed gateway left behind is ended first. */
async function endOrphan(pidFile: string, folder: string, log: Log): Promise<void> {
  const pid = orphanIn(pidFile, folder);
  if (pid === undefined) return;
  log.warn({ pid }, 'a Redis of an earlier start is still running here; ending it');
  process.kill(pid, 'SIGTERM');
  for (let waited = 0; orphanIn(pidFile, folder) !== undefined; waited += 100) {
    if (waited > 10_000) process.kill(pid, 'SIGKILL');
    await sleep(100);
  }
}

function orphanIn(pidFile: string, folder: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidFile, 'utf8'));
    const isRedis = readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('redis-server');
    return isRedis && readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder) ? pid : undefined;
  } catch {
    return undefined;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no free port on 127.0.0.1');
  return address.port;
}

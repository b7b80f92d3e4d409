import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, readdirSync, readFileSync, readlinkSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Redis } from 'ioredis';
import { within } from './deadline.ts';
import type { Log } from './log.ts';
import { findCommand } from './system-packages.ts';
import { dropZerosAtEnd } from './zeros-at-end.ts';

/**
 * The programs that will do. Redis comes first: Valkey does not read the files of Redis 7.4 and later, so a machine that has both goes on with
 * the one that wrote them.
 */
const programs = ['redis-server', 'valkey-server'] as const;

/** The name of the first that is in one of these folders (as in PATH); undefined when none is. */
export function findRedisServer(searchPath: string): (typeof programs)[number] | undefined {
  return programs.find((program) => findCommand(program, searchPath) !== undefined);
}

/** One `redis-server` or `valkey-server` as a child of this process. */
export type RedisServer = {
  readonly pid: number;
  readonly url: string;
  /** Resolves when it has ended, with the reason as far as it said one. */
  readonly ended: Promise<string>;
  /** Whether it answers within this time, in milliseconds. */
  answers(ms: number): Promise<boolean>;
  /** Resolves when it has ended: a server that does not end by itself is killed. */
  stop(signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
};

/** How long a start may take, with all data to read, and an end. Milliseconds. */
const [startMs, endMs] = [30_000, 5000];

export type RedisServerOptions = {
  /** its working folder, with its data */
  readonly folder: string;
  readonly port: number;
  readonly password: string;
  readonly log: Log;
  /** ends the start */
  readonly signal?: AbortSignal;
};

/**
 * Starts it on 127.0.0.1. The password goes through standard input, so that it is in no process list.
 * Whatever ends this process (but SIGKILL) ends the child.
 * @throws with code ENOENT when neither is on PATH; else with the reason that the server gives
 */
export async function startRedisServer(options: RedisServerOptions): Promise<RedisServer> {
  const { folder, port, password, signal } = options;
  const pidFile = join(folder, 'redis.pid');
  await endOrphan(pidFile, folder, options.log);
  closeToOthers(folder);
  const zeros = dropZerosAtEnd(folder);
  if (zeros > 0)
    options.log.warn({ bytes: zeros, folder }, 'cut off zeros that a power cut left in the files of Redis');
  const { program, child, ended } = await spawnServer(folder);
  // it may have ended before it read them
  child.stdin.on('error', () => {});
  child.stdin.end(configuration(folder, port, password));
  await notePid(pidFile, child, ended);

  const url = `redis://:${password}@127.0.0.1:${port}/0`;
  const client = new Redis(url, { maxRetriesPerRequest: null, retryStrategy: () => 50 });
  client.on('error', () => {});
  void ended.then(() => client.disconnect());
  const stop = async (how: 'SIGTERM' | 'SIGKILL') => {
    child.kill(how);
    if ((await Promise.race([ended, sleep(endMs, 'late' as const, { ref: false })])) === 'late') child.kill('SIGKILL');
    await ended;
    if (orphanIn(pidFile, folder) === undefined) forgetPid(pidFile, options.log);
  };
  const failure = await untilReady(client, ended, signal);
  if (failure !== undefined) {
    await stop('SIGKILL');
    throw new Error(`${program} did not start: ${failure}`);
  }
  return {
    pid: child.pid ?? 0,
    url,
    ended,
    answers: (ms) =>
      within(ms, 'PING', client.ping()).then(
        () => true,
        // an error that it answers with is an answer
        (error: Error) => error.name === 'ReplyError',
      ),
    stop,
  };
}

/** A server that the next start would not find must not stay behind: it holds the port, and the files. @throws when the file cannot be written */
async function notePid(pidFile: string, child: ChildProcess, ended: Promise<string>): Promise<void> {
  try {
    writeFileSync(pidFile, String(child.pid), { mode: 0o600 });
  } catch (error) {
    child.kill('SIGKILL');
    await ended;
    throw error;
  }
}

/** One that stays there names a process that has ended, and does no harm. */
function forgetPid(pidFile: string, log: Log): void {
  try {
    rmSync(pidFile, { force: true });
  } catch (err) {
    log.debug({ err }, 'the note of the process of Redis could not be removed');
  }
}

/** The first program that there is, in a folder. @throws with code ENOENT when there is none */
async function spawnServer(folder: string, [program, ...others]: readonly string[] = programs) {
  // in a process group of its own: Ctrl-C in the terminal must not end it before the gateway has closed
  const child = withPrivateFiles(() =>
    spawn(program ?? '', ['-'], { cwd: folder, stdio: ['pipe', 'pipe', 'pipe'], detached: true }),
  );
  // every acknowledged write is on disk by then: nothing is lost
  const killAtExit = () => child.kill('SIGKILL');
  process.once('exit', killAtExit);
  const ended = reasonOfEnd(child);
  void ended.then(() => process.off('exit', killAtExit));
  try {
    await new Promise<void>((resolve, reject) => child.once('spawn', resolve).once('error', reject));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT' || others.length === 0) throw error;
    return spawnServer(folder, others);
  }
  return { program, child, ended };
}

/** Files of an earlier version were open to all users of the machine: they have requests, and sealed answers. */
function closeToOthers(folder: string): void {
  chmodSync(folder, 0o700);
  for (const entry of readdirSync(folder, { withFileTypes: true, recursive: true }))
    if (!entry.isSymbolicLink()) chmodSync(join(entry.parentPath, entry.name), entry.isDirectory() ? 0o700 : 0o600);
}

/** What is started in `start` makes files and folders that only this user can read. */
function withPrivateFiles<T>(start: () => T): T {
  const before = process.umask(0o077);
  try {
    return start();
  } finally {
    process.umask(before);
  }
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
    // a write that a power cut interrupted was not acknowledged
    'aof-load-truncated yes',
    'maxmemory-policy noeviction',
    // a waiting request in one piece of memory: a third less of it. The name that 6.2 knows, too
    'hash-max-ziplist-value 2048',
    'save ""',
    'daemonize no',
    'protected-mode yes',
  ];
  return `${lines.join('\n')}\n`;
}

/** The last warnings of its log, or how it ended. */
function reasonOfEnd(child: ChildProcess): Promise<string> {
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      output = (output + chunk.toString()).slice(-4000);
    });
  return new Promise((resolve) => {
    // it stays: a signal that cannot be sent is such an error, too
    child.on('error', (error) => resolve(error.message));
    child.once('close', (status, signal) =>
      resolve(
        signal === null ? warningsIn(output) || `it ended with status ${status}` : `it was ended by signal ${signal}`,
      ),
    );
  });
}

/** What Redis says at each start, at the level of a warning. */
const usual =
  /^(WARNING|Warning: no config|\*\*\*|Reading config from stdin|oO0|(Redis|Valkey) version=|Configuration loaded|Server initialized|User requested)/;

/** Lines of Redis' log: process, role, time, level (# is a warning), text. Errors of the configuration have no such form. */
function warningsIn(output: string): string {
  const lines = output.split('\n').map((line) => line.trim());
  const warnings = lines.flatMap((line) => {
    const [, level, text] = /^\d+:[A-Z] .{10,30} ([.*#-])(?: (.*))?$/.exec(line) ?? [];
    if (level === undefined) return line === '' || usual.test(line) ? [] : [line];
    return level === '#' && text !== undefined && !usual.test(text) ? [text] : [];
  });
  return warnings.slice(-3).join('; ');
}

/** @returns why it is not ready */
async function untilReady(
  client: Redis,
  ended: Promise<string>,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const aborted = new Promise<string>((resolve) => {
    if (signal?.aborted) resolve('it was stopped meanwhile');
    signal?.addEventListener('abort', () => resolve('it was stopped meanwhile'));
  });
  return Promise.race([
    client.ping().then(
      () => undefined,
      (error: Error) => ended.then((reason) => reason || error.message),
    ),
    ended,
    aborted,
    sleep(startMs, `no answer within ${startMs / 1000} s`, { ref: false }),
  ]);
}

/** Two servers on one append-only file destroy it: a server that a killed gateway left behind is ended first. */
async function endOrphan(pidFile: string, folder: string, log: Log): Promise<void> {
  const pid = orphanIn(pidFile, folder);
  if (pid === undefined) return;
  log.warn({ pid }, 'a Redis of an earlier start is still running here; ending it');
  tell(pid, 'SIGTERM');
  for (let waited = 0; orphanIn(pidFile, folder) !== undefined; waited += 100) {
    if (waited > endMs) tell(pid, 'SIGKILL');
    await sleep(100);
  }
}

/** It may have ended by itself meanwhile. @throws when this user may not */
function tell(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function orphanIn(pidFile: string, folder: string): number | undefined {
  try {
    const pid = Number(readFileSync(pidFile, 'utf8'));
    const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8');
    const isRedis = programs.some((program) => line.includes(program));
    return isRedis && readlinkSync(`/proc/${pid}/cwd`) === realpathSync(folder) ? pid : undefined;
  } catch {
    return undefined;
  }
}

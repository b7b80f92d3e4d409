import { randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errorText } from './errors.ts';
import { type Lock, LockHeld, takeLock } from './lock.ts';
import type { Log } from './log.ts';
import { isAlive, ownMark, type ProcessMark } from './process-mark.ts';
import { type RedisServer, startRedisServer } from './redis-server.ts';

export type EmbeddedRedis = {
  readonly name: 'redis';
  readonly url: string;
  /** of the server that runs now */
  readonly pid: number;
  close(): Promise<void>;
  /** Kills the server as a power cut would, and does not start it again. Resolves when the process has ended. */
  kill(): Promise<void>;
};

/**
 * Milliseconds. A server that ends, or gives no answer twice in a row, is started again after each of `restartMs` in turn; one that
 * then runs for `steadyMs` has all of these tries again.
 */
const usualTimes = {
  restartMs: [0, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] as readonly number[],
  steadyMs: 120_000,
  probeMs: 5000,
  answerMs: 10_000,
};

type Options = {
  readonly dataDir: string;
  readonly log: Log;
  readonly port?: number;
  readonly password?: string;
  /** Called when it cannot be kept running: a gateway without it stores and answers nothing. */
  readonly onLost?: (error: Error) => void;
  readonly times?: Partial<typeof usualTimes>;
};

/**
 * Starts `redis-server`, or `valkey-server`, as a child on a free port of 127.0.0.1, with its data in `<dataDir>/redis`, and keeps it running: when
 * it was killed, froze, or ended since the disk is full, it is started again on the same port. Each start of the gateway makes a new password.
 * @throws with code ENOENT when neither is on PATH; also when another gateway runs on this data folder
 */
export async function startEmbeddedRedis(options: Options): Promise<EmbeddedRedis> {
  const folder = join(options.dataDir, 'redis');
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const owner = await lockFolder(folder, options.dataDir);
  try {
    return await startSupervised(folder, owner, options);
  } catch (error) {
    owner.release();
    throw error;
  }
}

/**
 * Notes the address of this Redis for commands of the same user on this machine. Only that user can read the note, like the data beside it; its
 * password is valid until this start ends.
 */
type Note = { readonly url: string; readonly process: ProcessMark };

const noteIn = (folder: string) => join(folder, 'running.json');

/** The URL, with its password, of the Redis that a gateway runs on this data folder now. */
export const findEmbeddedRedis = (dataDir: string): string | undefined => livingNote(dataDir)?.url;

function livingNote(dataDir: string): Note | undefined {
  try {
    const note = JSON.parse(readFileSync(noteIn(join(dataDir, 'redis')), 'utf8')) as Note;
    return isAlive(note.process) === true ? note : undefined;
  } catch {
    return undefined;
  }
}

/**
 * For a second start on a data folder, before it takes anything else: otherwise it complains of a port, and leads to the settings.
 * @throws when a gateway runs its Redis there now
 */
export function requireNoOther(dataDir: string): void {
  const note = livingNote(dataDir);
  if (note !== undefined) throw runsAlready(dataDir, `process ${note.process.pid}`);
}

const runsAlready = (dataDir: string, holder: string) =>
  new Error(
    `a gateway is running on the data folder ${dataDir} already (${holder}); stop it first, or give this one a CVM_DATA_DIR of its own`,
  );

/** The lock is held for as long as Redis runs here: no other gateway may end a server whose gateway lives. */
async function lockFolder(folder: string, dataDir: string): Promise<Lock> {
  try {
    return await takeLock(join(folder, 'owner'), 0);
  } catch (error) {
    if (!(error instanceof LockHeld)) throw error;
    throw runsAlready(dataDir, error.holder);
  }
}

async function startSupervised(folder: string, owner: Lock, options: Options): Promise<EmbeddedRedis> {
  const { log, onLost = () => {}, password = randomBytes(32).toString('hex') } = options;
  const times = { ...usualTimes, ...options.times };
  const closing = new AbortController();
  const { signal } = closing;
  const start = (port: number) => startRedisServer({ folder, port, password, log, signal });

  const { port, server: first } = await startFirst(start, folder, options.port);
  let server: RedisServer | undefined = first;
  const restart = async (reason: string): Promise<RedisServer | undefined> => {
    log.error(
      { reason, cure: cureOf(reason, folder) },
      'the embedded Redis ended by itself; starting it again. Until it is back, nothing is stored',
    );
    return start(port).catch((error: unknown) => {
      lastReason = errorText(error);
      return undefined;
    });
  };
  let lastReason = '';

  async function keepRunning(): Promise<void> {
    let tries = 0;
    while (server !== undefined && !signal.aborted) {
      const began = performance.now();
      lastReason = await endOf(server, times, log);
      if (signal.aborted) return;
      if (performance.now() - began > times.steadyMs) tries = 0;
      server = undefined;
      for (; server === undefined && tries < times.restartMs.length; tries++) {
        await sleep(times.restartMs[tries], undefined, { signal, ref: false }).catch(() => {});
        if (signal.aborted) return;
        server = await restart(lastReason);
      }
    }
    if (!signal.aborted) onLost(lost(lastReason, tries, folder));
  }
  writeFileSync(noteIn(folder), JSON.stringify({ url: first.url, process: ownMark() } satisfies Note), { mode: 0o600 });
  const supervising = keepRunning();

  const end = async (how: 'SIGTERM' | 'SIGKILL') => {
    closing.abort();
    await server?.stop(how);
    await supervising;
    rmSync(noteIn(folder), { force: true });
    owner.release();
  };
  return {
    name: 'redis',
    url: first.url,
    get pid() {
      return server?.pid ?? 0;
    },
    close: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
}

/** Another process may take a free port before Redis does. */
async function startFirst(
  start: (port: number) => Promise<RedisServer>,
  folder: string,
  wanted: number | undefined,
): Promise<{ port: number; server: RedisServer }> {
  for (let tries = 1; ; tries++) {
    const port = wanted ?? (await freePort());
    try {
      return { port, server: await start(port) };
    } catch (error) {
      const reason = errorText(error);
      if (wanted === undefined && tries < 3 && isPortTaken(reason)) continue;
      const cure = cureOf(reason, folder);
      if (cure === undefined) throw error;
      throw new Error(`${reason}. ${cure}`, { cause: error });
    }
  }
}

/** Resolves when the server has ended; one that does not answer any more is killed. @returns why it ended */
async function endOf(server: RedisServer, { probeMs, answerMs }: typeof usualTimes, log: Log): Promise<string> {
  const done = new AbortController();
  const pause = () => sleep(probeMs, true, { signal: done.signal, ref: false }).catch(() => false);
  let frozen = false;
  const probe = async () => {
    // twice: after a pause of this process itself, the first time limit is over before the answer is read
    for (let misses = 0; (await pause()) && misses < 2; ) misses = (await server.answers(answerMs)) ? 0 : misses + 1;
    if (done.signal.aborted) return;
    frozen = true;
    log.error('the embedded Redis does not answer; ending it');
    await server.stop('SIGKILL');
  };
  void probe();
  const reason = await server.ended;
  done.abort();
  return frozen ? 'it did not answer' : reason;
}

const isPortTaken = (reason: string) => /Address already in use|Failed listening on port/.test(reason);

/** By what Redis says. */
function cureOf(reason: string, folder: string): string | undefined {
  if (/No space left|Disk quota|Short write/i.test(reason)) return `Free space on the disk of ${folder}`;
  if (isPortTaken(reason)) return 'Another process has its port: start the gateway again, which takes another one';
  if (/AOF manifest/.test(reason))
    return `The list of its append-only files is damaged: restore ${folder} from a backup, or move it away to begin with an empty queue (devices ask again)`;
  if (/Bad file format|redis-check-aof/.test(reason))
    return `Its append-only file is damaged: make a copy of ${folder}, then run redis-check-aof --fix on the last .incr.aof file in ${join(folder, 'appendonlydir')}, which drops what follows the damage`;
  if (/Can't handle RDB format version/.test(reason))
    return `The data in ${folder} are of another Redis or Valkey: put the one that wrote them back on PATH, or move the folder away to begin with an empty queue (devices ask again)`;
  if (/Permission denied|Read-only file system/i.test(reason))
    return `Make ${folder} writable for the user of this process`;
  return undefined;
}

function lost(reason: string, tries: number, folder: string): Error {
  const cure = cureOf(reason, folder) ?? 'Correct what it says';
  return new Error(
    `the embedded Redis cannot be kept running (${tries} tries): ${reason}. ${cure}, and start the gateway again`,
  );
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve, reject) => server.once('listening', resolve).once('error', reject));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (typeof address !== 'object' || address === null) throw new Error('no free port on 127.0.0.1');
  return address.port;
}

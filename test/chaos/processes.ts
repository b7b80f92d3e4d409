import { type ChildProcess, spawn } from 'node:child_process';
import { createWriteStream, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type EmbeddedRedis, startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLog } from '../../runtime/log.ts';
import { until } from '../support/network.ts';

export type PartName = 'redis' | 'aws' | 'broker' | 'worker';

/** One process of a site. It can be killed as by a power cut, and started again on its data. */
export type Part = {
  readonly name: PartName;
  isRunning(): boolean;
  /** of the process, while it runs */
  pid(): number | undefined;
  /** stops it in the middle of whatever it does, and lets it go on */
  signal(signal: 'SIGSTOP' | 'SIGCONT'): void;
  kill(): Promise<void>;
  start(): Promise<void>;
};

export type ChildOptions = {
  readonly name: PartName;
  /** of its log file and its data folder, below the site's folder */
  readonly label: string;
  /** of Node.js */
  readonly argv: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  ready(): Promise<boolean>;
  /** called before each start */
  beforeStart?(): void;
};

/** Starts the processes of one site below its folder, and knows them all, so that none outlives the run. */
export function createProcesses(folder: string) {
  const pids = new Set<number>();

  return {
    child({ name, label, argv, env, ready, beforeStart }: ChildOptions): Part {
      let running: ChildProcess | undefined;
      const dataDir = join(folder, label);
      mkdirSync(dataDir, { recursive: true });
      const logFile = join(folder, `${label}.log`);
      const log = createWriteStream(logFile, { flags: 'a' });
      return {
        name,
        async start() {
          beforeStart?.();
          const process_ = spawn(process.execPath, argv, {
            env: { ...env, CVM_DATA_DIR: dataDir },
            stdio: ['ignore', 'pipe', 'pipe'],
          });
          process_.stdout.pipe(log, { end: false });
          process_.stderr.pipe(log, { end: false });
          running = process_;
          pids.add(process_.pid ?? 0);
          process_.once('exit', () => pids.delete(process_.pid ?? 0));
          const ended = () => process_.exitCode !== null;
          await until(async () => ended() || (await ready()), 60_000, `${label} is up`);
          if (ended()) throw new Error(`${label} ended by itself: ${readFileSync(logFile, 'utf8').slice(-2000)}`);
        },
        pid: () => running?.pid,
        isRunning: () => running !== undefined && running.exitCode === null && running.signalCode === null,
        signal: (signal) => void running?.kill(signal),
        async kill() {
          const dying = running;
          running = undefined;
          if (dying === undefined || dying.exitCode !== null || dying.signalCode !== null) return;
          const gone = new Promise((resolve) => dying.once('exit', resolve));
          dying.kill('SIGKILL');
          await gone;
        },
      };
    },

    /** A Redis on its append-only file in `<folder>/<label>/redis`. */
    redis({ label, port, password }: { label: string; port: number; password: string }): Part {
      const quiet = createLog('silent');
      let embedded: EmbeddedRedis | undefined;
      return {
        name: 'redis',
        async start() {
          embedded = await startEmbeddedRedis({ dataDir: join(folder, label), log: quiet, port, password });
          pids.add(embedded.pid);
        },
        pid: () => embedded?.pid,
        isRunning: () => embedded !== undefined && isAlive(embedded.pid),
        signal: (signal) => void (embedded && process.kill(embedded.pid, signal)),
        async kill() {
          const dying = embedded;
          embedded = undefined;
          if (dying === undefined) return;
          await dying.kill();
          pids.delete(dying.pid);
        },
      };
    },

    killAll(): void {
      for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
    },
  };
}

export type Processes = ReturnType<typeof createProcesses>;

/** Runs a program to its end. */
export async function run(
  argv: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<{ status: number | null; stdout: string; stderr: string }> {
  const process_ = spawn(process.execPath, argv, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  let [stdout, stderr] = ['', ''];
  process_.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  process_.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const status = await new Promise<number | null>((resolve) => process_.once('close', resolve));
  return { status, stdout, stderr };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    // a dead child that was not waited for still accepts signals
    return !readFileSync(`/proc/${pid}/stat`, 'utf8').includes(') Z ');
  } catch {
    return false;
  }
}

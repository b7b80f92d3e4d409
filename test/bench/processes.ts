import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { until } from '../support/network.ts';

export type Running = { readonly pid: number; stop(): Promise<void> };

type Program = { readonly command: string; readonly argv: readonly string[]; readonly env: NodeJS.ProcessEnv };

/** Linux counts CPU time for user space in hundredths of a second, on every platform that Node.js runs on. */
const tickMs = 10;

const startMs = 60_000;
const stopMs = 10_000;

const children = new Set<ChildProcess>();
process.once('exit', () => {
  for (const child of children) child.kill('SIGKILL');
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));

/**
 * Starts a program that runs until it is stopped, and waits until `ready`. It ends with this process at the latest.
 * @throws with the end of its log when it ends by itself or is not ready within a minute
 */
export async function start(program: Program, logFile: string, ready: () => Promise<boolean>): Promise<Running> {
  const log = openSync(logFile, 'a');
  const child = spawn(program.command, program.argv, { env: program.env, stdio: ['ignore', log, log] });
  closeSync(log);
  const ended = keep(child);
  let failed = false;
  void ended.then(() => {
    failed = true;
  });
  const described = [program.command, ...program.argv].join(' ');
  const tail = () => readFileSync(logFile, 'utf8').slice(-2000);
  await until(async () => failed || (await ready()), startMs, `start of ${described}: ${tail()}`);
  if (failed || child.pid === undefined) throw new Error(`${described} ended by itself: ${tail()}`);
  return {
    pid: child.pid,
    async stop() {
      child.kill('SIGTERM');
      const timer = setTimeout(() => child.kill('SIGKILL'), stopMs);
      await ended;
      clearTimeout(timer);
    },
  };
}

/**
 * Runs a program to its end.
 * @returns its standard output
 * @param statuses that are no failure
 * @throws with what it printed when it ends with another status, or when it takes longer than `forMs` milliseconds
 */
export async function run(program: Program, forMs: number, statuses: readonly number[] = [0]): Promise<string> {
  const child = spawn(program.command, program.argv, { env: program.env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = keep(child);
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk: Buffer) => {
    stdout += chunk.toString();
  });
  child.stderr.on('data', (chunk: Buffer) => {
    stderr += chunk.toString();
  });
  const timer = setTimeout(() => child.kill('SIGKILL'), forMs);
  const status = await ended;
  clearTimeout(timer);
  if (status !== null && statuses.includes(status)) return stdout;
  const described = [program.command, ...program.argv].join(' ');
  const said = `${stdout}${stderr}`.slice(-2000);
  throw new Error(`${described} ended with ${status ?? `no status within ${forMs} ms`}:\n${said}`);
}

/** @returns the CPU time of all threads of a process so far, in milliseconds, in steps of 10 */
export async function cpuMs(pid: number): Promise<number> {
  return cpuMsOf(await readFile(`/proc/${pid}/stat`, 'utf8'));
}

/**
 * utime and stime, fields 14 and 15. Field 2 is the program's name in parentheses and may hold spaces and parentheses.
 * @see https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html
 */
export function cpuMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return (Number(fields[11]) + Number(fields[12])) * tickMs;
}

/** @returns the exit status when the child has ended, null when a signal ended it or it could not be started */
function keep(child: ChildProcess): Promise<number | null> {
  children.add(child);
  return new Promise((resolve) => {
    const over = (status: number | null) => {
      children.delete(child);
      resolve(status);
    };
    child.once('close', over).once('error', () => over(null));
  });
}

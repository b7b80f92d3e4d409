import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Identifies a process for others that read this later. The pid alone does not, since the kernel uses pids again. */
export type ProcessMark = {
  readonly pid: number;
  /** machine, boot and container: the pid means this process only there */
  readonly where: string;
  /** when it started, as the kernel counts it; empty without /proc */
  readonly began: string;
};

/** The mark of this process. */
export function ownMark(): ProcessMark {
  return { pid: process.pid, where: ownPlace(), began: startOf(process.pid) };
}

/** Whether that process still runs; undefined when it belongs to another container or machine and cannot be seen from here. */
export function isAlive({ pid, where, began }: ProcessMark): boolean | undefined {
  if (where !== ownPlace()) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: it runs as another user
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return startOf(pid) === began;
}

function ownPlace(): string {
  const boot = orEmpty(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const space = orEmpty(() => readlinkSync('/proc/self/ns/pid'));
  return [hostname(), boot, space].join(' ');
}

/** When a process started; empty for one that has ended, and without /proc. */
function startOf(pid: number): string {
  const stat = orEmpty(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // proc(5): the second field, in brackets, may hold any character; the third is the state, the 22nd the start time
  const [state = '', ...rest] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return /[ZX]/.test(state) ? '' : (rest[18] ?? '');
}

function orEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return '';
  }
}

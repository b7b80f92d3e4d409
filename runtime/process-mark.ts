import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';

/** Names one process for others that come across it later. Its pid alone does not: pids are given again. */
export type ProcessMark = {
  readonly pid: number;
  /** the machine, its boot, and the container: only there does the pid mean this process */
  readonly where: string;
  /** when it began, as the kernel has it; empty where there is no /proc */
  readonly began: string;
};

/** The mark of this process. */
export function ownMark(): ProcessMark {
  return { pid: process.pid, where: whereWeAre(), began: beganAt(process.pid) };
}

/** Whether that process still runs; undefined when that cannot be known here, being of another container or machine. */
export function isAlive({ pid, where, began }: ProcessMark): boolean | undefined {
  if (where !== whereWeAre()) return undefined;
  try {
    process.kill(pid, 0);
  } catch (error) {
    // it is there, and another user's
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  return beganAt(pid) === began;
}

function whereWeAre(): string {
  const boot = orEmpty(() => readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim());
  const space = orEmpty(() => readlinkSync('/proc/self/ns/pid'));
  return [hostname(), boot, space].join(' ');
}

/** When a process began; empty for one that has ended, and where there is no /proc. */
function beganAt(pid: number): string {
  const stat = orEmpty(() => readFileSync(`/proc/${pid}/stat`, 'utf8'));
  // proc(5): the second field, in brackets, may hold anything; the third is the state, the 22nd the time
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

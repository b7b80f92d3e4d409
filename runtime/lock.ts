import { readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, ownMark, type ProcessMark } from './process-mark.ts';

export type Lock = { release(): void };

/** Another process, or another caller in this one, holds the lock. */
export class LockHeld extends Error {
  readonly holder: string;
  constructor(file: string, holder: string) {
    super(`${file} is held by ${holder}`);
    this.holder = holder;
  }
}

/**
 * A holder touches its file every `touchMs`. One in another container or on another machine is taken for dead when its last touch
 * is not of the last `silentMs`, and none comes within `watchMs`: the clock may have been set since the last one.
 */
const [touchMs, silentMs, watchMs, pollMs] = [2000, 10_000, 3000, 20];

/** The content of a lock file that its holder has released. */
const free = 'free';

/**
 * Takes a lock that one process at a time holds, and within a process one caller at a time. A process that died holds none.
 *
 * The lock is a row of files, `<file>.1`, `<file>.2`, …: the process that made the last one holds the lock until it writes
 * `free` into it. To take the lock is to make the next file, which only one process can (O_EXCL). The file of
 * a holder that lives is never deleted. A lock of a single file fails there: two processes that find the same dead holder both
 * delete it, and the second deletes the file of the first.
 * @param patienceMs how long to wait for a living holder
 * @throws LockHeld
 */
export async function takeLock(file: string, patienceMs: number): Promise<Lock> {
  const mark = JSON.stringify(ownMark());
  const isUntouched = createTouchWatch();
  for (let waited = 0; ; waited += pollMs) {
    const last = lastOf(file);
    const holder = last === 0 ? undefined : holderOf(`${file}.${last}`, isUntouched);
    if (holder === undefined) {
      if (makeFile(file, last + 1, mark)) return hold(`${file}.${last + 1}`);
    } else if (waited >= (holder.sure ? patienceMs : patienceMs + silentMs)) throw new LockHeld(file, holder.name);
    await sleep(pollMs);
  }
}

/** @returns whether this process made the file, and none made a later one meanwhile */
function makeFile(file: string, number: number, mark: string): boolean {
  try {
    writeFileSync(`${file}.${number}`, mark, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  const numbers = numbersOf(file);
  // since we looked, another process made this number and a later one, and removed this one
  const late = numbers.some((other) => other > number);
  for (const other of numbers)
    if (late ? other === number : other < number) rmSync(`${file}.${other}`, { force: true });
  return !late;
}

function hold(file: string): Lock {
  const timer = setInterval(() => {
    try {
      utimesSync(file, new Date(), new Date());
    } catch {
      // its folder was removed, and the lock with it
    }
  }, touchMs);
  timer.unref();
  let released = false;
  return {
    release() {
      if (released) return;
      released = true;
      clearInterval(timer);
      try {
        // r+: a file that was removed must not come back
        writeFileSync(file, free, { flag: 'r+' });
      } catch {
        // the folder was removed
      }
    },
  };
}

/** Whether a file was not touched for a while, and not since it was first asked about. */
function createTouchWatch() {
  let watched: { readonly file: string; readonly mtimeMs: number; readonly since: number } | undefined;
  return (file: string, { mtimeMs }: { readonly mtimeMs: number }): boolean => {
    if (Math.abs(Date.now() - mtimeMs) <= silentMs) return false;
    const time = performance.now();
    if (watched?.file !== file || watched.mtimeMs !== mtimeMs) watched = { file, mtimeMs, since: time };
    return time - watched.since >= watchMs;
  };
}

/** The holder, and whether it surely lives; undefined when the lock is free. */
function holderOf(
  file: string,
  isUntouched: ReturnType<typeof createTouchWatch>,
): { name: string; sure: boolean } | undefined {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.startsWith(free)) return undefined;
    const silent = isUntouched(file, statSync(file));
    const mark = parseMark(text);
    const alive = mark === undefined ? undefined : isAlive(mark);
    if (alive === false || (alive === undefined && silent)) return undefined;
    return { name: mark === undefined ? 'another process' : `process ${mark.pid}`, sure: alive === true };
  } catch (error) {
    // a later holder removed it
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { name: 'another process', sure: false };
    throw error;
  }
}

/** undefined for a mark that is being written */
function parseMark(text: string): ProcessMark | undefined {
  try {
    return JSON.parse(text) as ProcessMark;
  } catch {
    return undefined;
  }
}

function lastOf(file: string): number {
  return Math.max(0, ...numbersOf(file));
}

function numbersOf(file: string): number[] {
  const prefix = `${basename(file)}.`;
  return readdirSync(dirname(file))
    .filter((name) => name.startsWith(prefix))
    .map((name) => Number(name.slice(prefix.length)))
    .filter(Number.isSafeInteger);
}

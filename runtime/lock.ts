import { readdirSync, readFileSync, rmSync, statSync, utimesSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isAlive, ownMark, type ProcessMark } from './process-mark.ts';

export type Lock = { release(): void };

/** Somebody else has it. */
export class LockHeld extends Error {
  readonly holder: string;
  constructor(file: string, holder: string) {
    super(`${file} is held by ${holder}`);
    this.holder = holder;
  }
}

/** A holder of another container or machine shows every `touchMs` that it lives, and is given up after `silentMs`. */
const [touchMs, silentMs, pollMs] = [2000, 10_000, 20];

/** What a lock file begins with whose holder let go. */
const free = 'free';

/**
 * One process at a time, and within a process one caller at a time. A holder that died holds nothing.
 *
 * The lock is a row of files, `<file>.1`, `<file>.2`, …: whoever made the last one holds it until that says otherwise. To take it
 * is to make the next, which only one can (O_EXCL); so no file is ever taken away from under somebody, which is where
 * locks of one file go wrong when two find a dead holder.
 * @param patienceMs how long a living holder is waited for
 * @throws LockHeld
 */
export async function takeLock(file: string, patienceMs: number): Promise<Lock> {
  const mark = JSON.stringify(ownMark());
  for (let waited = 0; ; waited += pollMs) {
    const last = lastOf(file);
    const holder = last === 0 ? undefined : holderOf(`${file}.${last}`);
    if (holder === undefined) {
      if (take(file, last + 1, mark)) return held(`${file}.${last + 1}`);
    } else if (waited >= (holder.sure ? patienceMs : patienceMs + silentMs)) throw new LockHeld(file, holder.name);
    await sleep(pollMs);
  }
}

function take(file: string, number: number, mark: string): boolean {
  try {
    writeFileSync(`${file}.${number}`, mark, { flag: 'wx', mode: 0o600 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
  const numbers = numbersOf(file);
  // somebody took this number and a later one, and removed this one, since we looked
  const late = numbers.some((other) => other > number);
  for (const other of numbers)
    if (late ? other === number : other < number) rmSync(`${file}.${other}`, { force: true });
  return !late;
}

function held(file: string): Lock {
  const timer = setInterval(() => {
    try {
      utimesSync(file, new Date(), new Date());
    } catch {
      // its folder is gone, and the lock with it
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
        // r+: were it taken away, it must not come back
        writeFileSync(file, free, { flag: 'r+' });
      } catch {
        // as above
      }
    },
  };
}

/** Who holds it, and whether that is certain; undefined when nobody does. */
function holderOf(file: string): { name: string; sure: boolean } | undefined {
  try {
    const text = readFileSync(file, 'utf8');
    if (text.startsWith(free)) return undefined;
    const silent = Date.now() - statSync(file).mtimeMs > silentMs;
    const mark = parse(text);
    const alive = mark === undefined ? undefined : isAlive(mark);
    if (alive === false || (alive === undefined && silent)) return undefined;
    return { name: mark === undefined ? 'another process' : `process ${mark.pid}`, sure: alive === true };
  } catch (error) {
    // another one followed it, and took it away
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { name: 'another process', sure: false };
    throw error;
  }
}

/** Undefined for what is being written. */
function parse(text: string): ProcessMark | undefined {
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

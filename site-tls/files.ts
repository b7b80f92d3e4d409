import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { takeLock } from '../runtime/lock.ts';

/** How long to wait for another process that works on the same folder, in milliseconds. Its work takes a few. */
const patienceMs = 30_000;

/** The name of a file that is being written ends with this. */
const partial = '.new';

/** Runs `act` while no other process that uses this function works on the folder. Brokers may share a folder. */
export async function withFolderLock<T>(folder: string, act: () => T | Promise<T>): Promise<T> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = await takeLock(join(folder, 'lock'), patienceMs);
  try {
    // no other process is writing now, so these are of processes that were killed
    for (const name of readdirSync(folder)) if (name.endsWith(partial)) rmSync(join(folder, name), { force: true });
    return await act();
  } finally {
    lock.release();
  }
}

/**
 * Writes a file so that after a crash or a power cut it has its whole old or its whole new content. What was written before
 * it is on disk by then.
 */
export function writeFileAtomic(file: string, content: string, mode: number): void {
  const part = `${file}.${process.pid}-${randomBytes(4).toString('hex')}${partial}`;
  try {
    const descriptor = openSync(part, 'wx', mode);
    try {
      writeSync(descriptor, content);
      fsyncSync(descriptor);
    } finally {
      closeSync(descriptor);
    }
    renameSync(part, file);
  } catch (error) {
    rmSync(part, { force: true });
    throw error;
  }
  fsyncDirectory(file);
}

/** Removes a file, if it exists. */
export function removeFile(file: string): void {
  rmSync(file, { force: true });
  fsyncDirectory(file);
}

/** Keeps the order of changes: a power cut cannot undo this one and leave a later one. */
function fsyncDirectory(file: string): void {
  const descriptor = openSync(dirname(file), 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

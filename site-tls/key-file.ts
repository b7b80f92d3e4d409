import { createPrivateKey, randomBytes } from 'node:crypto';
import {
  closeSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { takeLock } from '../runtime/lock.ts';

/** What others may not do with a private key of ours: anything. */
const ours = { forbidden: 0o077, cure: 'chmod 600' };

/** The operator's own may be read by a group: Kubernetes' fsGroup and Debian's ssl-cert give a key so to a program that is not root. */
export const operators = { forbidden: 0o037, cure: 'chmod 640' };

/** Reads a private key (PEM) that nobody else may read. @throws with what to do about it */
export function readKey(file: string, { forbidden, cure } = ours): string {
  const mode = statSync(file).mode & 0o777;
  if ((mode & forbidden) !== 0)
    throw new Error(`${file} is open to others (mode ${mode.toString(8)}); run: ${cure} ${file}`);
  const pem = readFileSync(file, 'utf8');
  try {
    createPrivateKey(pem);
  } catch {
    throw new Error(`${file} is not a private key in PEM; bring it back from a backup`);
  }
  return pem;
}

/** So long is waited for another process at the same folder, in milliseconds: what it does takes a few. */
const patienceMs = 30_000;

/** Ends the name of what is being written. */
const partial = '.new';

/** Runs what makes or changes the files of a folder, which several processes may share: one at a time. */
export async function withFolderLock<T>(folder: string, act: () => T | Promise<T>): Promise<T> {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const lock = await takeLock(join(folder, 'lock'), patienceMs);
  try {
    // of those who were killed: nobody else is writing now
    for (const name of readdirSync(folder)) if (name.endsWith(partial)) rmSync(join(folder, name), { force: true });
    return await act();
  } finally {
    lock.release();
  }
}

/** The file is there whole or not at all, whatever happens meanwhile, and what was written before it is there, too. */
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

/** Removes a file, if it is there. */
export function removeFile(file: string): void {
  rmSync(file, { force: true });
  fsyncDirectory(file);
}

/** A power cut undoes nothing that was done before something else that it leaves. */
function fsyncDirectory(file: string): void {
  const descriptor = openSync(dirname(file), 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

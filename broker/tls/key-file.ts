import { createPrivateKey } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, statSync, writeSync } from 'node:fs';

/** Reads a private key (PEM) that nobody else may read. @throws with what to do about it */
export function readKey(file: string): string {
  const mode = statSync(file).mode & 0o777;
  if ((mode & 0o077) !== 0)
    throw new Error(`${file} can be read by others (mode ${mode.toString(8)}); run: chmod 600 ${file}`);
  const pem = readFileSync(file, 'utf8');
  try {
    createPrivateKey(pem);
  } catch {
    throw new Error(`${file} is not a private key in PEM; bring it back from a backup`);
  }
  return pem;
}

/** The file is there whole or not at all, whatever happens meanwhile. */
export function writeWhole(file: string, content: string, mode: number): void {
  const part = `${file}.new`;
  const descriptor = openSync(part, 'w', mode);
  writeSync(descriptor, content);
  fsyncSync(descriptor);
  closeSync(descriptor);
  renameSync(part, file);
}

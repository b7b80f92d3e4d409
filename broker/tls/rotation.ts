import { existsSync, readFileSync, rmSync } from 'node:fs';
import { makeCa, signServer } from './certificates.ts';
import { readKey, writeWhole } from './key-file.ts';
import { type Files, filesIn, firstOf, read, type TlsMaterial, type TlsOptions } from './material.ts';

/**
 * Begins to replace the site CA: the next one is made and published beside the one in use, which goes on signing. Devices
 * that are given both trust the gateway before and after `finishRotation`. Repeating it changes nothing.
 * @throws when there is no CA yet
 */
export async function beginRotation(options: TlsOptions): Promise<TlsMaterial> {
  const files = filesIn(options.dataDir);
  const { caPem = '' } = read(files);
  if (!existsSync(files.nextCert)) await makeCa(files.nextCert, files.nextKey, options.now ?? new Date());
  writeWhole(files.caCert, firstOf(caPem) + readFileSync(files.nextCert, 'utf8'), 0o644);
  return read(files);
}

/** The next CA takes over: it signs the server certificate, and is the only one published. @throws when none was made */
export async function finishRotation(options: TlsOptions): Promise<TlsMaterial> {
  const files = filesIn(options.dataDir);
  if (!existsSync(files.nextCert)) throw new Error('no rotation of the site CA was begun');
  const { names } = read(files);
  // what a crash interrupts from here on is completed at the next start, which finds the same key twice
  writeWhole(files.caKey, readKey(files.nextKey), 0o600);
  changeOver(files);
  await signServer(files, names, options.now ?? new Date());
  return { ...read(files), made: 'new' };
}

/** Forgets the next CA. @throws when none was made */
export function cancelRotation(options: TlsOptions): TlsMaterial {
  const files = filesIn(options.dataDir);
  if (!existsSync(files.nextCert)) throw new Error('no rotation of the site CA was begun');
  writeWhole(files.caCert, firstOf(readFileSync(files.caCert, 'utf8')), 0o644);
  rmSync(files.nextCert);
  rmSync(files.nextKey);
  return read(files);
}

export function changeOver(files: Files): void {
  writeWhole(files.caCert, readFileSync(files.nextCert, 'utf8'), 0o644);
  // the key last: as long as it is there, this is not finished
  rmSync(files.nextCert);
  rmSync(files.nextKey);
}

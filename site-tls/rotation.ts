import { existsSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { makeCa, signServer } from './certificates.ts';
import { readKey, removeFile, withFolderLock, writeFileAtomic } from './key-file.ts';
import {
  describeCertificate,
  firstOf,
  isSignedByCa,
  readMaterial,
  requirePair,
  type TlsFiles,
  type TlsMaterial,
  type TlsOptions,
  tlsFilesIn,
} from './material.ts';

/**
 * Begins to replace the site CA: the next one is made and published beside the one in use, which goes on signing. Devices
 * that are given both trust the gateway before and after `finishRotation`. Repeating it changes nothing.
 * @throws when there is no CA yet
 */
export function beginRotation(options: TlsOptions): Promise<TlsMaterial> {
  return whenSettled(options, async (files, now) => {
    if (existsSync(files.nextCert)) requireNext(files);
    else await makeCa(files.nextCert, files.nextKey, now);
    await completeRotation(files, now);
    return readMaterial(files);
  });
}

/** The next CA takes over: it signs the server certificate, and is the only one published. @throws when none was made */
export function finishRotation(options: TlsOptions): Promise<TlsMaterial> {
  return whenSettled(options, async (files, now, settled) => {
    if (settled !== 'taken over') {
      requireNext(files);
      writeFileAtomic(files.caKey, readKey(files.nextKey), 0o600);
      await completeRotation(files, now);
    }
    return { ...readMaterial(files), made: 'new' };
  });
}

/** Forgets the next CA. @throws when none was made, and when it has taken over */
export function cancelRotation(options: TlsOptions): Promise<TlsMaterial> {
  return whenSettled(options, (files, _now, settled) => {
    if (settled === 'taken over') throw new Error('the next CA has taken over already: too late to cancel');
    if (settled !== 'forgotten') {
      requireBegun(files);
      removeFile(files.nextCert);
      forgetNext(files);
    }
    return readMaterial(files);
  });
}

type Settled = 'taken over' | 'forgotten' | undefined;

/** Alone at the folder, and after what a killed process left undone. @throws when the broker has not started there yet */
export async function whenSettled<T>(
  options: TlsOptions,
  act: (files: TlsFiles, now: Date, settled: Settled) => T | Promise<T>,
): Promise<T> {
  const [files, now] = [tlsFilesIn(options.dataDir), options.now ?? new Date()];
  // a mistaken folder is told before a lock is put into it
  if (!existsSync(files.cert)) readMaterial(files);
  return withFolderLock(dirname(files.cert), async () => act(files, now, await completeRotation(files, now)));
}

/**
 * Completes what a killed process left undone. One write has decided:
 * - the next CA has a certificate: a rotation was begun, and both CAs are published;
 * - the CA in use has the next one's key: that one has taken over, and what is of the old one goes;
 * - the next CA has a key and no certificate: it is not to be, or no more, and what is left of it goes.
 *
 * The next CA's key goes last, since it says that there is something to do. Doing it twice changes nothing.
 * @throws when key and certificate of the CA do not belong together
 */
export async function completeRotation(files: TlsFiles, now: Date): Promise<Settled> {
  requireBoth(files);
  const settled = existsSync(files.nextKey) ? await settleNext(files, now) : undefined;
  requirePair(files.caCert, files.caKey, newCa(`${files.caCert} and ${files.caKey}`));
  return settled;
}

async function settleNext(files: TlsFiles, now: Date): Promise<Settled> {
  if (readKey(files.nextKey) === readKey(files.caKey)) {
    await takeOver(files, now);
    return 'taken over';
  }
  if (!existsSync(files.nextCert)) {
    forgetNext(files);
    return 'forgotten';
  }
  publish(files, firstOf(files.caCert) + firstOf(files.nextCert));
  return undefined;
}

async function takeOver(files: TlsFiles, now: Date): Promise<void> {
  if (existsSync(files.nextCert)) {
    requirePair(files.nextCert, files.nextKey);
    publish(files, firstOf(files.nextCert));
  }
  if (existsSync(files.cert) && existsSync(files.key) && !isSignedByCa(files))
    await signServer(files, describeCertificate(readFileSync(files.cert, 'utf8')).names, now);
  removeFile(files.nextCert);
  removeFile(files.nextKey);
}

function forgetNext(files: TlsFiles): void {
  publish(files, firstOf(files.caCert));
  removeFile(files.nextKey);
}

function publish({ caCert }: TlsFiles, pem: string): void {
  if (readFileSync(caCert, 'utf8') !== pem) writeFileAtomic(caCert, pem, 0o644);
}

function requireBegun(files: TlsFiles): void {
  if (!existsSync(files.nextCert)) throw new Error('no rotation of the site CA was begun');
}

function requireNext(files: TlsFiles): void {
  requireBegun(files);
  const cure = ', or begin again after: cvm tls rotate-ca --cancel';
  if (!existsSync(files.nextKey)) throw new Error(`${files.nextKey} is missing; bring it back from a backup${cure}`);
  requirePair(files.nextCert, files.nextKey, cure);
}

function requireBoth({ caCert, caKey }: TlsFiles): void {
  const present = [caCert, caKey].filter(existsSync);
  const missing = present[0] === caCert ? caKey : caCert;
  if (present.length === 1)
    throw new Error(
      `${present[0]} is there without its other half; bring back ${missing} from a backup${newCa(`${present[0]}`)}`,
    );
}

/** What is left without a backup. Only these files: the others in the folder, `gateway.key` above all, are still good. */
function newCa(these: string): string {
  return `, or remove ${these} to make a new site CA (devices must then be given the new one)`;
}

import { readFileSync } from 'node:fs';
import { isThere } from '../runtime/is-there.ts';
import { makeCa, signServer } from './certificates.ts';
import { removeFile, withFolderLock, writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';
import {
  describeCertificate,
  firstCertificate,
  isSignedByCa,
  readMaterial,
  requirePair,
  servedFiles,
  type TlsFiles,
  type TlsMaterial,
  type TlsOptions,
  tlsFolderIn,
} from './material.ts';

/**
 * Begins to replace the site CA, or both where two are served: makes the next CA and publishes it beside the one in use, which goes
 * on signing. Devices that are given both trust the gateway before and after `finishRotation`. Repeating it changes nothing.
 * @throws when there is no CA yet
 */
export function beginRotation(options: TlsOptions): Promise<TlsMaterial> {
  return withCompletedRotation(options, async (chains, now) => {
    for (const { files } of chains) {
      if (isThere(files.nextCert)) requireNext(files);
      else await makeCa(files.keyType, files.nextCert, files.nextKey, now);
      await completeRotation(files, now);
    }
    return readMaterial(filesOf(chains));
  });
}

/** Puts the next CA in use: it signs the server certificate, and it alone is published. @throws when no rotation was begun */
export function finishRotation(options: TlsOptions): Promise<TlsMaterial> {
  return withCompletedRotation(options, async (chains, now) => {
    if (!chains.some(({ completed }) => completed === 'finished')) requireBegun(chains);
    const begun = filesOf(chains).filter(isBegun);
    for (const files of begun) requireNext(files);
    for (const files of begun) {
      writeFileAtomic(files.caKey, readKey(files.nextKey), 0o600);
      await completeRotation(files, now);
    }
    return { ...readMaterial(filesOf(chains)), origin: 'new' };
  });
}

/** Deletes the next CA. @throws when no rotation was begun, and when the next CA is in use already */
export function cancelRotation(options: TlsOptions): Promise<TlsMaterial> {
  return withCompletedRotation(options, (chains) => {
    if (chains.some(({ completed }) => completed === 'finished'))
      throw new Error('the next CA is in use already: it is too late to cancel');
    if (!chains.some(({ completed }) => completed === 'cancelled')) requireBegun(chains);
    for (const files of filesOf(chains).filter(isBegun)) {
      removeFile(files.nextCert);
      deleteNextKey(files);
    }
    return readMaterial(filesOf(chains));
  });
}

/** The step that was completed for a process that was killed during it, if there was one. */
type Completed = 'finished' | 'cancelled' | undefined;

type Chains = readonly { readonly files: TlsFiles; readonly completed: Completed }[];
const filesOf = (chains: Chains): readonly TlsFiles[] => chains.map(({ files }) => files);

/**
 * Locks the folder, completes what a killed process began, then runs `act` on the served chains that exist.
 * @throws when no broker has started there yet
 */
export async function withCompletedRotation<T>(
  options: TlsOptions,
  act: (chains: Chains, now: Date) => T | Promise<T>,
): Promise<T> {
  const [served, now] = [servedFiles(options), options.now ?? new Date()];
  const present = served.filter(({ cert }) => isThere(cert));
  // a wrong folder is reported before a lock file is put into it
  if (present.length === 0) readMaterial(served);
  return withFolderLock(tlsFolderIn(options.dataDir), async () => {
    const chains = [];
    for (const files of present) chains.push({ files, completed: await completeRotation(files, now) });
    return act(chains, now);
  });
}

/**
 * Completes what a killed process began. One write decided what that is:
 * - the next CA has a certificate: a rotation was begun; both CAs are published
 * - the CA in use has the next CA's key: the rotation was finished; the old CA's certificates are replaced
 * - the next CA has a key and no certificate: the rotation was cancelled, or not begun; the key is deleted
 *
 * The next CA's key is deleted last, since it shows that there is something to complete. Repeating it changes nothing.
 * @throws when key and certificate of the CA do not belong together
 */
export async function completeRotation(files: TlsFiles, now: Date): Promise<Completed> {
  requireBoth(files);
  const completed = isThere(files.nextKey) ? await completeNext(files, now) : undefined;
  requirePair(files.caCert, files.caKey, newCaHint(`${files.caCert} and ${files.caKey}`));
  return completed;
}

async function completeNext(files: TlsFiles, now: Date): Promise<Completed> {
  if (readKey(files.nextKey) === readKey(files.caKey)) {
    await completeFinish(files, now);
    return 'finished';
  }
  if (!isThere(files.nextCert)) {
    deleteNextKey(files);
    return 'cancelled';
  }
  publish(files, firstCertificate(files.caCert) + firstCertificate(files.nextCert));
  return undefined;
}

async function completeFinish(files: TlsFiles, now: Date): Promise<void> {
  if (isThere(files.nextCert)) {
    requirePair(files.nextCert, files.nextKey);
    publish(files, firstCertificate(files.nextCert));
  }
  if (isThere(files.cert) && isThere(files.key) && !isSignedByCa(files))
    await signServer(files, describeCertificate(readFileSync(files.cert, 'utf8')).names, now);
  removeFile(files.nextCert);
  removeFile(files.nextKey);
}

function deleteNextKey(files: TlsFiles): void {
  publish(files, firstCertificate(files.caCert));
  removeFile(files.nextKey);
}

function publish({ caCert }: TlsFiles, pem: string): void {
  if (readFileSync(caCert, 'utf8') !== pem) writeFileAtomic(caCert, pem, 0o644);
}

const isBegun = ({ nextCert }: TlsFiles): boolean => isThere(nextCert);

function requireBegun(chains: Chains): void {
  if (!filesOf(chains).some(isBegun))
    throw new Error('no rotation of the site CA was begun; begin one with: cvm tls rotate-ca');
}

function requireNext(files: TlsFiles): void {
  const orElse = ', or begin again after: cvm tls rotate-ca --cancel';
  if (!isThere(files.nextKey)) throw new Error(`${files.nextKey} is missing; restore it from a backup${orElse}`);
  requirePair(files.nextCert, files.nextKey, orElse);
}

function requireBoth({ caCert, caKey }: TlsFiles): void {
  const present = [caCert, caKey].filter(isThere);
  const missing = present[0] === caCert ? caKey : caCert;
  if (present.length === 1)
    throw new Error(
      `${present[0]} exists and ${missing} is missing; restore ${missing} from a backup${newCaHint(`${present[0]}`)}`,
    );
}

/** For an operator without a backup. Names these files only: the others in the folder, `gateway.key` above all, are good. */
function newCaHint(these: string): string {
  return `, or remove ${these} to make a new site CA (devices must then be given the new one)`;
}

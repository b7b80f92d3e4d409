import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { makeCa, newKey, signServer } from './certificates.ts';
import { withFolderLock, writeFileAtomic } from './key-file.ts';
import {
  describeCertificate,
  isPair,
  isSignedByCa,
  readCertificate,
  readMaterial,
  type TlsFiles,
  type TlsMaterial,
  type TlsOptions,
  tlsFilesIn,
} from './material.ts';
import { loadOwn } from './own-certificate.ts';
import { completeRotation, whenSettled } from './rotation.ts';
import { distinct, serverNames } from './server-names.ts';

const day = 86_400_000;

/** So many days before its end, a server certificate is renewed. */
const renewDays = 30;

/** Addresses that change leave their old ones in the certificate; not for ever. */
const maxNames = 100;

/**
 * The broker's TLS material. At first start a site CA and a server certificate are made (P-256); later they are kept, and
 * the server certificate is made anew from the same key and CA when a name is missing in it or its end is near. Brokers
 * that share the folder take turns, and what one was killed over the next one completes.
 * @throws with what to do when files are missing, damaged, or readable by others
 */
export async function loadTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  if (options.own !== undefined) return loadOwn(options.own, options.now ?? new Date());
  const files = tlsFilesIn(options.dataDir);
  const now = options.now ?? new Date();
  return withFolderLock(dirname(files.cert), async () => {
    const made = await ensureCa(files, now);
    const renewed = await ensureServer(files, serverNames(options), now);
    return { ...readMaterial(files), made: made || renewed ? 'new' : 'kept' };
  });
}

/** The material as it is, without making or renewing anything. @throws when there is none yet */
export function readTlsMaterial({ dataDir, own, now = new Date() }: TlsOptions): TlsMaterial {
  return own === undefined ? readMaterial(tlsFilesIn(dataDir)) : loadOwn(own, now);
}

/**
 * A new server certificate for the same key, though the one that is there still holds; for the names of that one and of
 * the configuration. @throws when there is none yet
 */
export function renewTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  return whenSettled(options, async (files, now) => {
    await signServer(files, distinct([...readMaterial(files).names, ...serverNames(options)]), now);
    return { ...readMaterial(files), made: 'new' };
  });
}

async function ensureCa(files: TlsFiles, now: Date): Promise<boolean> {
  // a key alone that has signed nothing is that of a first start that was killed
  const make = !existsSync(files.caCert) && !(existsSync(files.caKey) && existsSync(files.cert));
  if (make) await makeCa(files.caCert, files.caKey, now);
  await completeRotation(files, now);
  return make;
}

async function ensureServer(files: TlsFiles, names: readonly string[], now: Date): Promise<boolean> {
  if (existsSync(files.cert) && existsSync(files.key) && stillGood(files, names, now)) return false;
  // the key stays, so that a pin on it goes on to hold
  if (!existsSync(files.key)) writeFileAtomic(files.key, await newKey(), 0o600);
  await signServer(files, withOthers(files, names, now), now);
  return true;
}

function stillGood(files: TlsFiles, names: readonly string[], now: Date): boolean {
  const certificate = readCertificate(files.cert);
  const named = names.every(
    (name) => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined,
  );
  return named && stillHolds(files, now);
}

function stillHolds(files: TlsFiles, now: Date): boolean {
  const end = new Date(readCertificate(files.cert).validTo).getTime();
  return isPair(files.cert, files.key) && isSignedByCa(files) && end - now.getTime() > renewDays * day;
}

/** Brokers that share a data folder have names of their own: a certificate that only lacks some keeps the others. */
function withOthers(files: TlsFiles, names: readonly string[], now: Date): readonly string[] {
  if (!existsSync(files.cert) || !stillHolds(files, now)) return names;
  return distinct([...names, ...describeCertificate(readFileSync(files.cert, 'utf8')).names]).slice(0, maxNames);
}

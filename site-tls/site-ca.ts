import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { isPlausible } from '../runtime/plausible-time.ts';
import { makeCa, newKey, signCaAgain, signServer } from './certificates.ts';
import { withFolderLock, writeFileAtomic } from './files.ts';
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
import { loadOwnCertificate } from './own-certificate.ts';
import { completeRotation, withCompletedRotation } from './rotation.ts';
import { distinct, serverNames } from './server-names.ts';

const day = 86_400_000;

/** How many days before its end a server certificate is renewed. */
const renewDays = 30;

/** Old addresses of the machine stay in the certificate when it is renewed, up to this number of names in all. */
const maxNames = 100;

/**
 * Loads the broker's TLS material. The first start makes a site CA and a server certificate (P-256). Later starts keep
 * both; the server certificate is renewed, for the same key, when it lacks a name or its end is near; either is signed again
 * for the same key when it lies in the future, since it was made by a clock that was ahead. Brokers that share
 * the folder take turns, and complete what a killed one began.
 * @throws with the cure when files are missing, damaged, or readable by other users
 */
export async function loadTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  if (options.own !== undefined) return loadOwnCertificate(options.own, options.now ?? new Date());
  const files = tlsFilesIn(options.dataDir);
  const now = options.now ?? new Date();
  return withFolderLock(dirname(files.cert), async () => {
    const newCa = await ensureCa(files, now);
    const newServer = await ensureServer(files, serverNames(options), now);
    return { ...readMaterial(files), origin: newCa || newServer ? 'new' : 'kept' };
  });
}

/** Reads the material; makes and renews nothing. @throws when there is none yet */
export function readTlsMaterial({ dataDir, own, now = new Date() }: TlsOptions): TlsMaterial {
  return own === undefined ? readMaterial(tlsFilesIn(dataDir)) : loadOwnCertificate(own, now);
}

/**
 * Renews the server certificate for the same key although the present one is still good; for the names of the present one
 * and of the settings. @throws when there is none yet
 */
export function renewTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  return withCompletedRotation(options, async (files, now) => {
    await signServer(files, distinct([...readMaterial(files).names, ...serverNames(options)]), now);
    return { ...readMaterial(files), origin: 'new' };
  });
}

async function ensureCa(files: TlsFiles, now: Date): Promise<boolean> {
  // a key without a CA certificate that has signed nothing is of a first start that was killed
  const make = !existsSync(files.caCert) && !(existsSync(files.caKey) && existsSync(files.cert));
  if (make) await makeCa(files.caCert, files.caKey, now);
  await completeRotation(files, now);
  if (isInForce(files.caCert, now, 0)) return make;
  await signCaAgain(files, now);
  // which publishes the next CA again
  await completeRotation(files, now);
  return true;
}

/**
 * Whether a certificate is valid now and for the next `days` days. A clock that was ahead has made those that begin in the future.
 * While the clock is implausible, every certificate counts as valid.
 */
function isInForce(file: string, now: Date, days: number): boolean {
  const { validFrom, validTo } = readCertificate(file);
  const time = now.getTime();
  return !isPlausible(time) || (Date.parse(validFrom) <= time && Date.parse(validTo) - time > days * day);
}

async function ensureServer(files: TlsFiles, names: readonly string[], now: Date): Promise<boolean> {
  if (existsSync(files.cert) && existsSync(files.key) && isGood(files, names, now)) return false;
  // the key stays, so that devices that pin it still trust the server
  if (!existsSync(files.key)) writeFileAtomic(files.key, await newKey(), 0o600);
  await signServer(files, withPresentNames(files, names, now), now);
  return true;
}

function isGood(files: TlsFiles, names: readonly string[], now: Date): boolean {
  const certificate = readCertificate(files.cert);
  const named = names.every(
    (name) => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined,
  );
  return named && isValid(files, now);
}

function isValid(files: TlsFiles, now: Date): boolean {
  return isPair(files.cert, files.key) && isSignedByCa(files) && isInForce(files.cert, now, renewDays);
}

/** Brokers that share a data folder have different names: a certificate that is valid and lacks a name keeps its others. */
function withPresentNames(files: TlsFiles, names: readonly string[], now: Date): readonly string[] {
  if (!existsSync(files.cert) || !isValid(files, now)) return names;
  return distinct([...names, ...describeCertificate(readFileSync(files.cert, 'utf8')).names]).slice(
    0,
    Math.max(maxNames, names.length),
  );
}

import { readFileSync } from 'node:fs';
import { isThere } from '../runtime/is-there.ts';
import { isPlausible } from '../runtime/plausible-time.ts';
import { alternativeNames, makeCa, signCaAgain, signedAt, signServer } from './certificates.ts';
import { withFolderLock, writeFileAtomic } from './files.ts';
import { hasServed } from './gateway-key.ts';
import { newKey } from './key-type.ts';
import {
  describeAlternatives,
  describeCertificate,
  isPair,
  isSignedByCa,
  readCertificate,
  readMaterial,
  servedFiles,
  type TlsFiles,
  type TlsMaterial,
  type TlsOptions,
  tlsFolderIn,
} from './material.ts';
import { loadOwnCertificate } from './own-certificate.ts';
import { completeRotation, withCompletedRotation } from './rotation.ts';
import { distinct, serverNames } from './server-names.ts';

const [minute, day] = [60_000, 86_400_000];

/** How many days before its end a server certificate is renewed. */
const renewDays = 30;

/** Names of others stay in the certificate up to this number of names in all. */
const maxNames = 100;

/** Each broker looks at the certificate once a minute (`renewal.ts`), and adds the names that it lacks. */
const othersMs = 5 * minute;

/**
 * Loads the broker's TLS material. The first start makes a site CA and a server certificate of each key type that is served. Later
 * starts keep both; the server certificate is renewed, for the same key, when it lacks a name or its end is near; either is signed again
 * for the same key when it lies in the future, since it was made by a clock that was ahead. Brokers that share
 * the folder take turns, and complete what a killed one began.
 * @throws with the cure when files are missing, damaged, or readable by other users
 */
export async function loadTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  if (options.own !== undefined) return loadOwnCertificate(options.own, options.now ?? new Date());
  const [now, names] = [options.now ?? new Date(), serverNames(options)];
  return withFolderLock(tlsFolderIn(options.dataDir), async () => {
    const served = servedFiles(options);
    const missesCa = served.some(({ caCert }) => !isThere(caCert));
    let made = false;
    for (const files of served) {
      const [newCa, newServer] = [await ensureCa(files, now), await ensureServer(files, names, now)];
      made ||= newCa || newServer;
    }
    const madeCaAgain = missesCa && hasServed(options.dataDir);
    return { ...readMaterial(served), origin: made ? 'new' : 'kept', ...(madeCaAgain ? { madeCaAgain } : {}) };
  });
}

/**
 * The same, for a gateway at work: it renews, and makes no CA. Its devices trust the one that it has served with.
 * @throws also when that one is gone
 */
export async function refreshTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  const missing = options.own === undefined ? servedFiles(options).find(({ caCert }) => !isThere(caCert)) : undefined;
  if (missing !== undefined)
    throw new Error(
      `${missing.caCert} is gone: put it and its key back from a backup (cvm restore) before this gateway starts again, which would make another CA that no device trusts`,
    );
  return loadTlsMaterial(options);
}

/** Reads the material; makes and renews nothing. @throws when there is none yet */
export function readTlsMaterial(options: TlsOptions): TlsMaterial {
  const { own, now = new Date() } = options;
  return own === undefined ? readMaterial(servedFiles(options)) : loadOwnCertificate(own, now);
}

/**
 * Renews the server certificates for the same keys although the present ones are still good, for the names that this machine and
 * the settings have now. Other brokers at the folder add theirs within a minute. @throws when there is none yet
 */
export function renewTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  return withCompletedRotation(options, async (chains, now) => {
    const served = chains.map(({ files }) => files);
    for (const files of served) await signServer(files, serverNames(options), now);
    return { ...readMaterial(served), origin: 'new' };
  });
}

async function ensureCa(files: TlsFiles, now: Date): Promise<boolean> {
  // a key without a CA certificate that has signed nothing is of a first start that was killed
  const make = !isThere(files.caCert) && !(isThere(files.caKey) && isThere(files.cert));
  if (make) await makeCa(files.keyType, files.caCert, files.caKey, now);
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
  if (isThere(files.cert) && isThere(files.key) && isGood(files, names, now)) return false;
  // the key stays, so that devices that pin it still trust the server
  if (!isThere(files.key)) writeFileAtomic(files.key, await newKey(files.keyType), 0o600);
  await signServer(files, withNamesOfOthers(files, names, now), now);
  return true;
}

function isGood(files: TlsFiles, names: readonly string[], now: Date): boolean {
  const present = new Set(describeAlternatives(readCertificate(files.cert)));
  return alternativeNames(names).every((name) => present.has(`${name.type} ${name.value}`)) && isValid(files, now);
}

function isValid(files: TlsFiles, now: Date): boolean {
  return isPair(files.cert, files.key) && isSignedByCa(files) && isInForce(files.cert, now, renewDays);
}

/**
 * Brokers that share a data folder have different names, and would sign it in turns: names that another one has just put in stay.
 * Older ones go, such as addresses that the machine had before.
 */
function withNamesOfOthers(files: TlsFiles, names: readonly string[], now: Date): readonly string[] {
  if (!isThere(files.cert) || !isValid(files, now)) return names;
  if (now.getTime() - signedAt(readCertificate(files.cert)) > othersMs) return names;
  return distinct([...names, ...describeCertificate(readFileSync(files.cert, 'utf8')).names]).slice(
    0,
    Math.max(maxNames, names.length),
  );
}

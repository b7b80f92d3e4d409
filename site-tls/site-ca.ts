import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { dirname } from 'node:path';
import { makeCa, newKey, signServer } from './certificates.ts';
import { alone, writeWhole } from './key-file.ts';
import {
  describe,
  type Files,
  filesIn,
  isPair,
  isSignedByCa,
  parse,
  read,
  type TlsMaterial,
  type TlsOptions,
} from './material.ts';
import { loadOwn } from './own-certificate.ts';
import { settle, whenSettled } from './rotation.ts';
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
  const files = filesIn(options.dataDir);
  const now = options.now ?? new Date();
  return alone(dirname(files.cert), async () => {
    const made = await ensureCa(files, now);
    const renewed = await ensureServer(files, serverNames(options), now);
    return { ...read(files), made: made || renewed ? 'new' : 'kept' };
  });
}

/** The material as it is, without making or renewing anything. @throws when there is none yet */
export function readTlsMaterial({ dataDir, own, now = new Date() }: TlsOptions): TlsMaterial {
  return own === undefined ? read(filesIn(dataDir)) : loadOwn(own, now);
}

/**
 * A new server certificate for the same key, though the one that is there still holds; for the names of that one and of
 * the configuration. @throws when there is none yet
 */
export function renewTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  return whenSettled(options, async (files, now) => {
    await signServer(files, distinct([...read(files).names, ...serverNames(options)]), now);
    return { ...read(files), made: 'new' };
  });
}

async function ensureCa(files: Files, now: Date): Promise<boolean> {
  // a key alone that has signed nothing is that of a first start that was killed
  const make = !existsSync(files.caCert) && !(existsSync(files.caKey) && existsSync(files.cert));
  if (make) await makeCa(files.caCert, files.caKey, now);
  await settle(files, now);
  return make;
}

async function ensureServer(files: Files, names: readonly string[], now: Date): Promise<boolean> {
  if (existsSync(files.cert) && existsSync(files.key) && stillGood(files, names, now)) return false;
  // the key stays, so that a pin on it goes on to hold
  if (!existsSync(files.key)) writeWhole(files.key, await newKey(), 0o600);
  await signServer(files, withOthers(files, names, now), now);
  return true;
}

function stillGood(files: Files, names: readonly string[], now: Date): boolean {
  const certificate = parse(files.cert);
  const named = names.every(
    (name) => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined,
  );
  return named && stillHolds(files, now);
}

function stillHolds(files: Files, now: Date): boolean {
  const end = new Date(parse(files.cert).validTo).getTime();
  return isPair(files.cert, files.key) && isSignedByCa(files) && end - now.getTime() > renewDays * day;
}

/** Brokers that share a data folder have names of their own: a certificate that only lacks some keeps the others. */
function withOthers(files: Files, names: readonly string[], now: Date): readonly string[] {
  if (!existsSync(files.cert) || !stillHolds(files, now)) return names;
  return distinct([...names, ...describe(readFileSync(files.cert, 'utf8')).names]).slice(0, maxNames);
}

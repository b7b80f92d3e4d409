import { createHash, createPrivateKey, createPublicKey, randomBytes, webcrypto, X509Certificate } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { isIP } from 'node:net';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { readKey, writeWhole } from './key-file.ts';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  X509Certificate as Certificate,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from './x509.ts';

export type TlsOptions = {
  readonly dataDir: string;
  /** names and addresses that devices use, beyond the machine's own */
  readonly hostnames: readonly string[];
  readonly machineName: string;
  /** the operator's own certificate, instead of one from the site CA */
  readonly own?: { readonly certFile: string; readonly keyFile: string };
  readonly now?: Date;
};

/** What of a configuration is about TLS. */
export function tlsOptions(settings: {
  readonly dataDir: string;
  readonly hostnames: readonly string[];
  readonly machineName: string;
  readonly tls: TlsOptions['own'] | undefined;
}): TlsOptions {
  const { dataDir, hostnames, machineName, tls } = settings;
  return { dataDir, hostnames, machineName, ...(tls === undefined ? {} : { own: tls }) };
}

export type TlsMaterial = {
  /** PEM */
  readonly key: string;
  /** PEM: the server certificate, then its CA */
  readonly cert: string;
  /** what devices trust, two CAs while one follows the other; absent with a certificate of the operator's own */
  readonly caFile?: string;
  readonly caPem?: string;
  /** SHA-256 of the server certificate's DER, hex with colons */
  readonly fingerprint: string;
  readonly caFingerprint?: string;
  /** of the CA that follows, while both are published */
  readonly nextCaFingerprint?: string;
  /** `sha256//` and base64 of the SHA-256 of the public key's SPKI, as curl takes it: it outlives a renewed certificate */
  readonly spkiPin: string;
  readonly names: readonly string[];
  readonly notAfter: Date;
  readonly made: 'new' | 'kept' | 'own';
};

const day = 86_400_000;
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** Lifetimes in days. 825 is the longest that common TLS stacks take from a server. */
const [caDays, serverDays, renewDays] = [20 * 365, 825, 30];

/** Addresses that change leave their old ones in the certificate; not for ever. */
const maxNames = 100;

/**
 * The broker's TLS material. At first start a site CA and a server certificate are made (P-256); later they are kept, and
 * the server certificate is made anew from the same key and CA when a name is missing in it or its end is near.
 * @throws with what to do when files are missing, damaged, or readable by others
 */
export async function loadTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  if (options.own !== undefined) return loadOwn(options.own, options.now ?? new Date());
  mkdirSync(join(options.dataDir, 'tls'), { recursive: true, mode: 0o700 });
  const files = filesIn(options.dataDir);
  const now = options.now ?? new Date();
  const made = await ensureCa(files, now);
  const renewed = await ensureServer(files, serverNames(options), now);
  return { ...read(files), made: made || renewed ? 'new' : 'kept' };
}

/** The material as it is, without making or renewing anything. @throws when there is none yet */
export function readTlsMaterial({ dataDir, own, now = new Date() }: TlsOptions): TlsMaterial {
  return own === undefined ? read(filesIn(dataDir)) : loadOwn(own, now);
}

/**
 * A new server certificate for the same key, though the one that is there still holds; for the names of that one and of
 * the configuration. @throws when there is none yet
 */
export async function renewTlsMaterial(options: TlsOptions): Promise<TlsMaterial> {
  const files = filesIn(options.dataDir);
  const names = [...new Set([...read(files).names, ...serverNames(options)])];
  await signServer(files, names, options.now ?? new Date());
  return { ...read(files), made: 'new' };
}

function filesIn(dataDir: string): Files {
  const folder = join(dataDir, 'tls');
  return {
    caCert: join(folder, 'site-ca.crt'),
    caKey: join(folder, 'site-ca.key'),
    cert: join(folder, 'server.crt'),
    key: join(folder, 'server.key'),
    nextCert: join(folder, 'next-ca.crt'),
    nextKey: join(folder, 'next-ca.key'),
  };
}

function read(files: Files): TlsMaterial {
  if (!existsSync(files.cert)) throw new Error(`there is no ${files.cert} yet; the broker makes it at its first start`);
  const [caPem, cert, key] = [readFileSync(files.caCert, 'utf8'), readFileSync(files.cert, 'utf8'), readKey(files.key)];
  return {
    ...describe(cert),
    key,
    cert: cert + firstOf(caPem),
    caFile: files.caCert,
    caPem,
    caFingerprint: new X509Certificate(caPem).fingerprint256,
    ...(existsSync(files.nextCert) ? { nextCaFingerprint: parse(files.nextCert).fingerprint256 } : {}),
    made: 'kept',
  };
}

type Files = { caCert: string; caKey: string; cert: string; key: string; nextCert: string; nextKey: string };

async function ensureCa(files: Files, now: Date): Promise<boolean> {
  const present = [files.caCert, files.caKey].filter(existsSync);
  if (present.length === 1)
    throw new Error(
      `${present[0]} is there without its other half; bring back the missing file from a backup, or remove the folder to make a new site CA (devices must then be given the new one)`,
    );
  if (present.length === 2) {
    if (existsSync(files.nextKey) && readKey(files.nextKey) === readKey(files.caKey)) changeOver(files);
    return false;
  }
  await makeCa(files.caCert, files.caKey, now);
  return true;
}

async function makeCa(certFile: string, keyFile: string, now: Date): Promise<void> {
  const keys = await webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify']);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: `CN=cvm-gateway site CA ${randomBytes(4).toString('hex')}`,
    ...validity(now, caDays),
    keys,
    signingAlgorithm: ecdsa,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  writeWhole(keyFile, await pkcs8(keys.privateKey), 0o600);
  writeWhole(certFile, `${certificate.toString('pem')}\n`, 0o644);
}

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

function changeOver(files: Files): void {
  writeWhole(files.caCert, readFileSync(files.nextCert, 'utf8'), 0o644);
  // the key last: as long as it is there, this is not finished
  rmSync(files.nextCert);
  rmSync(files.nextKey);
}

/** The first certificate of a PEM file: the CA in use, where another follows. */
function firstOf(pem: string): string {
  return `${new X509Certificate(pem).toString().trim()}\n`;
}

async function ensureServer(files: Files, names: readonly string[], now: Date): Promise<boolean> {
  readKey(files.caKey);
  if (existsSync(files.cert) && existsSync(files.key) && stillGood(files, names, now)) return false;
  // the key stays, so that a pin on it goes on to hold
  if (!existsSync(files.key))
    writeWhole(
      files.key,
      await pkcs8((await webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify'])).privateKey),
      0o600,
    );
  await signServer(files, withOthers(files, names, now), now);
  return true;
}

async function signServer(files: Files, names: readonly string[], now: Date): Promise<void> {
  const caKey = readKey(files.caKey);
  const ca = new Certificate(readFileSync(files.caCert, 'utf8'));
  const spki = publicKeyOf(readKey(files.key));
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0] ?? 'cvm-gateway'] }],
    issuer: ca.subjectName,
    ...validity(now, serverDays),
    publicKey: spki,
    signingKey: await webcrypto.subtle.importKey('pkcs8', derOf(caKey), ecdsa, false, ['sign']),
    signingAlgorithm: ecdsa,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) ? 'ip' : 'dns', value }))),
      await AuthorityKeyIdentifierExtension.create(ca),
      await SubjectKeyIdentifierExtension.create(spki),
    ],
  });
  writeWhole(files.cert, `${certificate.toString('pem')}\n`, 0o644);
}

function stillGood(files: Files, names: readonly string[], now: Date): boolean {
  const certificate = parse(files.cert);
  const named = names.every(
    (name) => (isIP(name) ? certificate.checkIP(name) : certificate.checkHost(name)) !== undefined,
  );
  return named && stillHolds(files, now);
}

function stillHolds(files: Files, now: Date): boolean {
  readKey(files.key);
  const certificate = parse(files.cert);
  return (
    certificate.verify(parse(files.caCert).publicKey) &&
    new Date(certificate.validTo).getTime() - now.getTime() > renewDays * day
  );
}

/** Brokers that share a data folder have names of their own: a certificate that only lacks some keeps the others. */
function withOthers(files: Files, names: readonly string[], now: Date): readonly string[] {
  if (!existsSync(files.cert) || !stillHolds(files, now)) return names;
  return [...new Set([...names, ...describe(readFileSync(files.cert, 'utf8')).names])].slice(0, maxNames);
}

function parse(file: string): X509Certificate {
  try {
    return new X509Certificate(readFileSync(file));
  } catch (error) {
    throw new Error(
      `${file} is not a certificate: ${error instanceof Error ? error.message : error}; bring it back from a backup`,
    );
  }
}

function loadOwn({ certFile, keyFile }: { certFile: string; keyFile: string }, now: Date): TlsMaterial {
  const problems: string[] = [];
  const attempt = <T>(what: string, read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      problems.push(`${what}: ${error instanceof Error ? error.message : error}`);
      return undefined;
    }
  };
  const cert = attempt(`CVM_TLS_CERT ${certFile}`, () => readFileSync(certFile, 'utf8'));
  const key = attempt(`CVM_TLS_KEY ${keyFile}`, () => readFileSync(keyFile, 'utf8'));
  const certificate =
    cert === undefined ? undefined : attempt(`CVM_TLS_CERT ${certFile}`, () => new X509Certificate(cert));
  const privateKey = key === undefined ? undefined : attempt(`CVM_TLS_KEY ${keyFile}`, () => createPrivateKey(key));
  if (certificate !== undefined && privateKey !== undefined && !certificate.checkPrivateKey(privateKey))
    problems.push('CVM_TLS_KEY does not belong to CVM_TLS_CERT');
  if (certificate !== undefined && new Date(certificate.validTo) <= now)
    problems.push(`CVM_TLS_CERT ended on ${certificate.validTo}`);
  if (problems.length > 0 || cert === undefined || key === undefined)
    throw new Error(`the TLS certificate cannot be used: ${problems.join('; ')}`);
  return { ...describe(cert), key, cert, made: 'own' };
}

function describe(cert: string): Pick<TlsMaterial, 'fingerprint' | 'spkiPin' | 'names' | 'notAfter'> {
  const certificate = new X509Certificate(cert);
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' });
  const names = (certificate.subjectAltName ?? '').split(', ').map((name) => name.replace(/^(DNS|IP Address):/, ''));
  return {
    fingerprint: certificate.fingerprint256,
    spkiPin: `sha256//${createHash('sha256').update(spki).digest('base64')}`,
    names,
    notAfter: new Date(certificate.validTo),
  };
}

/** What devices may call this machine: what the operator says, its own name, and its addresses. */
function serverNames({ hostnames, machineName }: TlsOptions): string[] {
  const addresses = Object.values(networkInterfaces()).flatMap((entries) =>
    (entries ?? [])
      .filter((entry) => !entry.internal && !entry.address.startsWith('fe80:'))
      .map((entry) => entry.address),
  );
  return [...new Set([...hostnames, machineName, 'localhost', '127.0.0.1', '::1', ...addresses])];
}

/** A day back, for devices whose clock runs behind. */
function validity(now: Date, days: number) {
  return { notBefore: new Date(now.getTime() - day), notAfter: new Date(now.getTime() + days * day) };
}

/** Positive and at most 20 bytes (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

function publicKeyOf(pem: string): Buffer {
  return createPublicKey(pem).export({ format: 'der', type: 'spki' });
}

function derOf(pem: string): Buffer {
  return createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
}

async function pkcs8(key: webcrypto.CryptoKey): Promise<string> {
  return createPrivateKey({
    key: Buffer.from(await webcrypto.subtle.exportKey('pkcs8', key)),
    format: 'der',
    type: 'pkcs8',
  })
    .export({ format: 'pem', type: 'pkcs8' })
    .toString();
}

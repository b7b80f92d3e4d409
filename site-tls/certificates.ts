import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { newP256Key } from '../runtime/p256.ts';
import { earliest } from '../runtime/plausible-time.ts';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  X509Certificate as Certificate,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  type Name,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509CertificateGenerator,
} from '../runtime/x509.ts';
import { writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';
import { requirePair, type TlsFiles } from './material.ts';

const day = 86_400_000;
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** Lifetimes in days. Common TLS stacks accept at most 825 for a server. */
const [caDays, serverDays] = [20 * 365, 825];

/** A server certificate is valid from this number of days before it is made, for devices whose clock is behind. */
const earlyDays = 30;

/** Makes a private key (P-256, PKCS #8 in PEM). */
export const newKey = async (): Promise<string> => (await newP256Key()).privateKeyPem;

/** Makes a CA: its key, unless the file exists, then its certificate. */
export async function makeCa(certFile: string, keyFile: string, now: Date): Promise<void> {
  if (!existsSync(keyFile)) writeFileAtomic(keyFile, await newKey(), 0o600);
  await signCa(certFile, keyFile, `CN=cvm-gateway site CA ${randomBytes(4).toString('hex')}`, now);
}

/** Signs the CA's certificate again, for the same key and name: it stays the issuer of what it has signed. */
export async function signCaAgain({ caCert, caKey }: TlsFiles, now: Date): Promise<void> {
  requirePair(caCert, caKey);
  await signCa(caCert, caKey, new Certificate(readFileSync(caCert, 'utf8')).subjectName, now);
}

async function signCa(certFile: string, keyFile: string, name: string | Name, now: Date): Promise<void> {
  const pem = readKey(keyFile);
  const keys = { privateKey: await signingKey(pem), publicKey: await verifyingKey(pem) };
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name,
    // valid since no clock that is right showed an earlier time: also when `now` is of a clock that is far ahead
    notBefore: new Date(earliest.time),
    notAfter: new Date(plausible(now) + caDays * day),
    keys,
    signingAlgorithm: ecdsa,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  writeFileAtomic(certFile, `${certificate.toString('pem')}\n`, 0o644);
}

/** Signs a certificate for the server's key with the CA in use, and writes it. */
export async function signServer(files: TlsFiles, names: readonly string[], now: Date): Promise<void> {
  requirePair(files.caCert, files.caKey);
  const ca = new Certificate(readFileSync(files.caCert, 'utf8'));
  const spki = publicKeyOf(readKey(files.key));
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0] ?? 'cvm-gateway'] }],
    issuer: ca.subjectName,
    notBefore: new Date(plausible(now) - earlyDays * day),
    notAfter: new Date(plausible(now) + (serverDays - earlyDays) * day),
    publicKey: spki,
    signingKey: await signingKey(readKey(files.caKey)),
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
  writeFileAtomic(files.cert, `${certificate.toString('pem')}\n`, 0o644);
}

/** A certificate that is dated by a clock that shows 1970 would have ended when the clock is right. Epoch milliseconds. */
function plausible(now: Date): number {
  return Math.max(now.getTime(), earliest.time);
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

function signingKey(pem: string): Promise<webcrypto.CryptoKey> {
  const der = createPrivateKey(pem).export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', der, ecdsa, false, ['sign']);
}

function verifyingKey(pem: string): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('spki', publicKeyOf(pem), ecdsa, true, ['verify']);
}

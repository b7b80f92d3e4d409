import { createPrivateKey, createPublicKey, randomBytes, webcrypto } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { isIP } from 'node:net';
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
} from '../runtime/x509.ts';
import { writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';
import { requirePair, type TlsFiles } from './material.ts';

const day = 86_400_000;
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** Lifetimes in days. Common TLS stacks accept at most 825 for a server. */
const [caDays, serverDays] = [20 * 365, 825];

/** Makes a private key (P-256, PKCS #8 in PEM). */
export async function newKey(): Promise<string> {
  const { privateKey } = await webcrypto.subtle.generateKey(ecdsa, true, ['sign', 'verify']);
  const der = Buffer.from(await webcrypto.subtle.exportKey('pkcs8', privateKey));
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    .export({ format: 'pem', type: 'pkcs8' })
    .toString();
}

/** Makes a CA: its key, unless the file exists, then its certificate. */
export async function makeCa(certFile: string, keyFile: string, now: Date): Promise<void> {
  if (!existsSync(keyFile)) writeFileAtomic(keyFile, await newKey(), 0o600);
  const pem = readKey(keyFile);
  const keys = { privateKey: await signingKey(pem), publicKey: await verifyingKey(pem) };
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
    ...validity(now, serverDays),
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

/** So many days in all. They begin a day earlier, for devices whose clock is behind. */
function validity(now: Date, days: number) {
  return { notBefore: new Date(now.getTime() - day), notAfter: new Date(now.getTime() + (days - 1) * day) };
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

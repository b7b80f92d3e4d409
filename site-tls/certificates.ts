import {
  createPrivateKey,
  createPublicKey,
  type KeyObject,
  randomBytes,
  webcrypto,
  type X509Certificate,
} from 'node:crypto';
import { readFileSync } from 'node:fs';
import { isIP, isIPv4 } from 'node:net';
import { isThere } from '../runtime/is-there.ts';
import { earliest } from '../runtime/plausible-time.ts';
import type { Name, KeyUsageFlags as Usages } from '../runtime/x509.ts';
import { writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';
import { type KeyType, newKey } from './key-type.ts';
import { requirePair, type TlsFiles } from './material.ts';

const day = 86_400_000;
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };
/** Not RSA-PSS, which the firmware that needs RSA does not know. */
const rsa = { name: 'RSASSA-PKCS1-v1_5', hash: 'SHA-256' };
const algorithmOf = (key: KeyObject) => (key.asymmetricKeyType === 'rsa' ? rsa : ecdsa);

/** Only a signature needs it, and it takes as long to load as a third of a broker, which mostly finds its certificate there. */
const loadX509 = () => import('../runtime/x509.ts');

/** Lifetimes in days. Common TLS stacks accept at most 825 for a server. */
const [caDays, serverDays] = [20 * 365, 825];

/** A server certificate is valid from this number of days before it is made, for devices whose clock is behind. */
const earlyDays = 30;

/** Makes a CA: its key, unless the file exists, then its certificate. */
export async function makeCa(type: KeyType, certFile: string, keyFile: string, now: Date): Promise<void> {
  if (!isThere(keyFile)) writeFileAtomic(keyFile, await newKey(type), 0o600);
  await signCa(certFile, keyFile, `CN=cvm-gateway site CA ${randomBytes(4).toString('hex')}`, now);
}

/** Signs the CA's certificate again, for the same key and name: it stays the issuer of what it has signed. */
export async function signCaAgain({ caCert, caKey }: TlsFiles, now: Date): Promise<void> {
  requirePair(caCert, caKey);
  const { X509Certificate: Certificate } = await loadX509();
  await signCa(caCert, caKey, new Certificate(readFileSync(caCert, 'utf8')).subjectName, now);
}

async function signCa(certFile: string, keyFile: string, name: string | Name, now: Date): Promise<void> {
  const x509 = await loadX509();
  const key = createPrivateKey(readKey(keyFile));
  const keys = { privateKey: await signingKey(key), publicKey: await verifyingKey(key) };
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name,
    // valid since no clock that is right showed an earlier time: also when `now` is of a clock that is far ahead
    notBefore: new Date(earliest.time),
    notAfter: new Date(plausible(now) + caDays * day),
    keys,
    signingAlgorithm: algorithmOf(key),
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  writeFileAtomic(certFile, `${certificate.toString('pem')}\n`, 0o644);
}

/** Signs a certificate for the server's key with the CA in use, and writes it. */
export async function signServer(files: TlsFiles, names: readonly string[], now: Date): Promise<void> {
  requirePair(files.caCert, files.caKey);
  const x509 = await loadX509();
  const ca = new x509.X509Certificate(readFileSync(files.caCert, 'utf8'));
  const [key, caKey] = [createPrivateKey(readKey(files.key)), createPrivateKey(readKey(files.caKey))];
  const spki = publicKeyOf(key);
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0] ?? 'cvm-gateway'] }],
    issuer: ca.subjectName,
    notBefore: new Date(plausible(now) - earlyDays * day),
    notAfter: new Date(plausible(now) + (serverDays - earlyDays) * day),
    publicKey: spki,
    signingKey: await signingKey(caKey),
    signingAlgorithm: algorithmOf(caKey),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(usagesOf(key, x509.KeyUsageFlags), true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension(alternativeNames(names)),
      await x509.AuthorityKeyIdentifierExtension.create(ca),
      await x509.SubjectKeyIdentifierExtension.create(spki),
    ],
  });
  writeFileAtomic(files.cert, `${certificate.toString('pem')}\n`, 0o644);
}

/** Signs a client certificate for a key that it makes, which a group of devices is to share. @returns both in PEM */
export async function signClaim(
  files: Pick<TlsFiles, 'caCert' | 'caKey'>,
  { group, endsAt }: { readonly group: string /** epoch milliseconds */; readonly endsAt: number },
  now: Date,
): Promise<{ readonly cert: string; readonly key: string }> {
  requirePair(files.caCert, files.caKey);
  const x509 = await loadX509();
  const ca = new x509.X509Certificate(readFileSync(files.caCert, 'utf8'));
  const [key, caKey] = [await newKey('ec'), createPrivateKey(readKey(files.caKey))];
  const spki = publicKeyOf(createPrivateKey(key));
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [group] }, { OU: ['claim certificate'] }],
    issuer: ca.subjectName,
    notBefore: new Date(plausible(now) - earlyDays * day),
    notAfter: new Date(endsAt),
    publicKey: spki,
    signingKey: await signingKey(caKey),
    signingAlgorithm: algorithmOf(caKey),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth]),
      await x509.AuthorityKeyIdentifierExtension.create(ca),
      await x509.SubjectKeyIdentifierExtension.create(spki),
    ],
  });
  return { cert: `${certificate.toString('pem')}\n`, key };
}

/** When `signServer` made a certificate. Epoch milliseconds. */
export function signedAt({ validFrom }: X509Certificate): number {
  return Date.parse(validFrom) + earlyDays * day;
}

/** With RSA key exchange the client encrypts to the key (`CVM_TLS_SUITES=old`). */
function usagesOf(key: KeyObject, { digitalSignature, keyEncipherment }: typeof Usages): number {
  return key.asymmetricKeyType === 'rsa' ? digitalSignature | keyEncipherment : digitalSignature;
}

/**
 * The names as a certificate has them. An IPv4 address stands there twice, also as a DNS name: mbedTLS 2 and BearSSL look for
 * nothing else. An IPv6 address does not, since its colons make no DNS name, and strict parsers refuse the certificate.
 */
export function alternativeNames(names: readonly string[]): { type: 'dns' | 'ip'; value: string }[] {
  return [
    ...names.filter((name) => !isIP(name) || isIPv4(name)).map((value) => ({ type: 'dns' as const, value })),
    ...names.filter((name) => isIP(name)).map((value) => ({ type: 'ip' as const, value })),
  ];
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

function publicKeyOf(key: KeyObject): Buffer {
  return createPublicKey(key).export({ format: 'der', type: 'spki' });
}

function signingKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ format: 'der', type: 'pkcs8' });
  return webcrypto.subtle.importKey('pkcs8', der, algorithmOf(key), false, ['sign']);
}

function verifyingKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('spki', publicKeyOf(key), algorithmOf(key), true, ['verify']);
}

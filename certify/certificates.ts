import { createPrivateKey, createPublicKey, type KeyObject, randomBytes, webcrypto } from 'node:crypto';
import { newP256Key } from '../runtime/p256.ts';
import { newRsaKey } from '../runtime/rsa.ts';
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  X509Certificate as Certificate,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator,
} from '../runtime/x509.ts';
import { alternativeNames } from '../site-tls/certificates.ts';
import type { ShownCertificate } from './observation.ts';

const day = 86_400_000;
const ecdsa = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

/** PEM */
export type ServerCertificate = { readonly key: string; readonly cert: string };

/** The site CA in use, on P-256: the gateway of a certification has no other. PEM */
export type SiteCa = { readonly cert: string; readonly key: string };

/** A name below a domain that never exists (RFC 2606). */
const otherName = 'other-gateway.invalid';

/** The server certificates that a device must not take, and one with an RSA key. `names`: those of the gateway. */
export async function otherCertificates(
  siteCa: SiteCa,
  names: readonly string[],
  now: number,
): Promise<Record<Exclude<ShownCertificate, 'right'>, ServerCertificate>> {
  const [usual, past] = [
    { from: now - day, to: now + 30 * day },
    // ended long enough ago for a device whose clock is some days behind
    { from: now - 400 * day, to: now - 35 * day },
  ];
  return {
    rsa: await signServer(siteCa, names, usual, await newRsaKey()),
    'wrong-ca': await signServer(await otherCa(now), names, usual),
    expired: await signServer(siteCa, names, past),
    'other-name': await signServer(siteCa, [otherName], usual),
  };
}

type Validity = { readonly from: number; readonly to: number };

async function otherCa(now: number): Promise<SiteCa> {
  const key = (await newP256Key()).privateKeyPem;
  const privateKey = createPrivateKey(key);
  const certificate = await X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: 'CN=cvm-gateway site CA of another site',
    notBefore: new Date(now - day),
    notAfter: new Date(now + 365 * day),
    keys: { privateKey: await signingKey(privateKey), publicKey: await verifyingKey(privateKey) },
    signingAlgorithm: ecdsa,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
    ],
  });
  return { key, cert: certificate.toString('pem') };
}

/** @param ownKey PEM; without one, it is on P-256 */
async function signServer(
  ca: SiteCa,
  names: readonly string[],
  validity: Validity,
  ownKey?: string,
): Promise<ServerCertificate> {
  const key = ownKey ?? (await newP256Key()).privateKeyPem;
  const issuer = new Certificate(ca.cert);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: [{ CN: [names[0] ?? 'cvm-gateway'] }],
    issuer: issuer.subjectName,
    notBefore: new Date(validity.from),
    notAfter: new Date(validity.to),
    publicKey: spkiOf(createPrivateKey(key)),
    signingKey: await signingKey(createPrivateKey(ca.key)),
    signingAlgorithm: ecdsa,
    extensions: [
      new BasicConstraintsExtension(false, undefined, true),
      new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
      new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
      new SubjectAlternativeNameExtension(alternativeNames(names)),
      await AuthorityKeyIdentifierExtension.create(issuer),
    ],
  });
  return { key, cert: certificate.toString('pem') };
}

/** Positive and at most 20 bytes (RFC 5280 §4.1.2.2). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString('hex');
}

const spkiOf = (key: KeyObject): Buffer => createPublicKey(key).export({ format: 'der', type: 'spki' });

function signingKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('pkcs8', key.export({ format: 'der', type: 'pkcs8' }), ecdsa, false, ['sign']);
}

function verifyingKey(key: KeyObject): Promise<webcrypto.CryptoKey> {
  return webcrypto.subtle.importKey('spki', spkiOf(key), ecdsa, true, ['verify']);
}

import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKey } from './key-file.ts';
import { distinct } from './server-names.ts';

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

export type TlsFiles = { caCert: string; caKey: string; cert: string; key: string; nextCert: string; nextKey: string };

export function tlsFilesIn(dataDir: string): TlsFiles {
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

/** The material as it is in the folder. @throws when there is none yet */
export function readMaterial(files: TlsFiles): TlsMaterial {
  if (!existsSync(files.cert)) throw new Error(`there is no ${files.cert} yet; the broker makes it at its first start`);
  // not needed here; but who looks should be told that others can
  for (const file of [files.caKey, files.nextKey]) if (existsSync(file)) readKey(file);
  const [caPem, cert, key] = [readFileSync(files.caCert, 'utf8'), readFileSync(files.cert, 'utf8'), readKey(files.key)];
  return {
    ...describeCertificate(cert),
    key,
    cert: cert + firstOf(files.caCert),
    caFile: files.caCert,
    caPem,
    caFingerprint: new X509Certificate(caPem).fingerprint256,
    ...(existsSync(files.nextCert) ? { nextCaFingerprint: readCertificate(files.nextCert).fingerprint256 } : {}),
    made: 'kept',
  };
}

export function describeCertificate(cert: string): Pick<TlsMaterial, 'fingerprint' | 'spkiPin' | 'names' | 'notAfter'> {
  const certificate = new X509Certificate(cert);
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' });
  const alternatives = (certificate.subjectAltName ?? '').split(', ');
  const names = distinct(alternatives.map((name) => name.replace(/^(DNS|IP Address):/, '')));
  return {
    fingerprint: certificate.fingerprint256,
    spkiPin: `sha256//${createHash('sha256').update(spki).digest('base64')}`,
    names,
    notAfter: new Date(certificate.validTo),
  };
}

export function readCertificate(file: string): X509Certificate {
  try {
    return new X509Certificate(readFileSync(file));
  } catch (error) {
    throw new Error(
      `${file} is not a certificate: ${error instanceof Error ? error.message : error}; bring it back from a backup`,
    );
  }
}

/** The first certificate of a PEM file: the CA in use, where another follows. */
export function firstOf(file: string): string {
  return `${readCertificate(file).toString().trim()}\n`;
}

/** Whether devices that have the CA in use trust the server certificate, its end apart. */
export function isSignedByCa(files: TlsFiles): boolean {
  const [certificate, ca] = [readCertificate(files.cert), readCertificate(files.caCert)];
  return certificate.checkIssued(ca) && certificate.verify(ca.publicKey);
}

export function isPair(certFile: string, keyFile: string): boolean {
  return readCertificate(certFile).checkPrivateKey(createPrivateKey(readKey(keyFile)));
}

/** @throws when that is not the certificate's key, with what to do, and what else */
export function requirePair(certFile: string, keyFile: string, orElse = ''): void {
  if (isPair(certFile, keyFile)) return;
  throw new Error(
    `${keyFile} is not the key of ${certFile}; bring back the two that belong together from a backup${orElse}`,
  );
}

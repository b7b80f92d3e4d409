import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readKey } from './key-file.ts';
import { distinct } from './server-names.ts';

export type TlsOptions = {
  readonly dataDir: string;
  /** names and addresses that devices use for this machine, beyond its own name and addresses */
  readonly hostnames: readonly string[];
  readonly machineName: string;
  /** the operator's certificate, instead of one that the site CA signs */
  readonly own?: { readonly certFile: string; readonly keyFile: string };
  readonly now?: Date;
};

/** The settings that are about TLS. */
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
  /** the CA that devices trust, both CAs during a rotation; absent with the operator's certificate */
  readonly caFile?: string;
  readonly caPem?: string;
  /** SHA-256 of the server certificate's DER, hex with colons */
  readonly fingerprint: string;
  readonly caFingerprint?: string;
  /** of the next CA, during a rotation */
  readonly nextCaFingerprint?: string;
  /** `sha256//` and base64 of the SHA-256 of the public key's SPKI, as curl takes it; a renewed certificate has the same */
  readonly spkiPin: string;
  readonly names: readonly string[];
  readonly notBefore: Date;
  readonly notAfter: Date;
  /** validity of the CA in use; absent with the operator's certificate */
  readonly caNotBefore?: Date;
  readonly caNotAfter?: Date;
  /** `new`: made or renewed by this call; `kept`: from an earlier start; `own`: the operator's */
  readonly origin: 'new' | 'kept' | 'own';
};

/** Paths. `next…` exist during a rotation of the CA. */
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

/** Reads the material and changes nothing. @throws when there is none yet */
export function readMaterial(files: TlsFiles): TlsMaterial {
  if (!existsSync(files.cert)) throw new Error(`there is no ${files.cert} yet; the broker makes it at its first start`);
  // these keys are not needed here; reading them reports permissions that are too wide
  for (const file of [files.caKey, files.nextKey]) if (existsSync(file)) readKey(file);
  const [caPem, cert, key] = [readFileSync(files.caCert, 'utf8'), readFileSync(files.cert, 'utf8'), readKey(files.key)];
  return {
    ...describeCertificate(cert),
    key,
    cert: cert + firstCertificate(files.caCert),
    caFile: files.caCert,
    caPem,
    ...describeCa(new X509Certificate(caPem)),
    ...(existsSync(files.nextCert) ? { nextCaFingerprint: readCertificate(files.nextCert).fingerprint256 } : {}),
    origin: 'kept',
  };
}

export function describeCertificate(
  cert: string,
): Pick<TlsMaterial, 'fingerprint' | 'spkiPin' | 'names' | 'notBefore' | 'notAfter'> {
  const certificate = new X509Certificate(cert);
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' });
  const alternatives = (certificate.subjectAltName ?? '').split(', ');
  const names = distinct(alternatives.map((name) => name.replace(/^(DNS|IP Address):/, '')));
  return {
    fingerprint: certificate.fingerprint256,
    spkiPin: `sha256//${createHash('sha256').update(spki).digest('base64')}`,
    names,
    notBefore: new Date(certificate.validFrom),
    notAfter: new Date(certificate.validTo),
  };
}

const describeCa = ({ fingerprint256, validFrom, validTo }: X509Certificate) => ({
  caFingerprint: fingerprint256,
  caNotBefore: new Date(validFrom),
  caNotAfter: new Date(validTo),
});

export function readCertificate(file: string): X509Certificate {
  try {
    return new X509Certificate(readFileSync(file));
  } catch (error) {
    throw new Error(
      `${file} is not a certificate: ${error instanceof Error ? error.message : error}; restore it from a backup`,
    );
  }
}

/** The first certificate of a PEM file: in that of the CA, the one in use. */
export function firstCertificate(file: string): string {
  return `${readCertificate(file).toString().trim()}\n`;
}

/** Whether the CA in use signed the server certificate. Does not look at its dates. */
export function isSignedByCa(files: TlsFiles): boolean {
  const [certificate, ca] = [readCertificate(files.cert), readCertificate(files.caCert)];
  return certificate.checkIssued(ca) && certificate.verify(ca.publicKey);
}

export function isPair(certFile: string, keyFile: string): boolean {
  return readCertificate(certFile).checkPrivateKey(createPrivateKey(readKey(keyFile)));
}

/** @throws when the key is not that of the certificate. @param orElse another cure, added to the text */
export function requirePair(certFile: string, keyFile: string, orElse = ''): void {
  if (isPair(certFile, keyFile)) return;
  throw new Error(`${keyFile} is not the key of ${certFile}; restore both from the same backup${orElse}`);
}

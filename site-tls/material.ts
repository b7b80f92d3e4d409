import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isThere } from '../runtime/is-there.ts';
import { readKey } from './key-file.ts';
import { type KeyType, keyTypes, type ServedKeyTypes } from './key-type.ts';
import { distinct } from './server-names.ts';

export type TlsOptions = {
  readonly dataDir: string;
  /** names and addresses that devices use for this machine, beyond its own name and addresses */
  readonly hostnames: readonly string[];
  readonly machineName: string;
  /** of the certificates that the site CA signs; absent: P-256 */
  readonly keyType?: ServedKeyTypes;
  /** the operator's certificate, instead of one that the site CA signs */
  readonly own?: { readonly certFile: string; readonly keyFile: string };
  readonly now?: Date;
};

/** The settings that are about TLS. */
export function tlsOptions(settings: {
  readonly dataDir: string;
  readonly hostnames: readonly string[];
  readonly machineName: string;
  readonly tlsKeyType: ServedKeyTypes;
  readonly tls: TlsOptions['own'] | undefined;
}): TlsOptions {
  const { dataDir, hostnames, machineName, tlsKeyType: keyType, tls } = settings;
  return { dataDir, hostnames, machineName, keyType, ...(tls === undefined ? {} : { own: tls }) };
}

export type TlsMaterial = TlsChain & {
  /** served beside it, to clients that cannot use it: the RSA chain, where the key type is `both` */
  readonly beside?: TlsChain;
};

/** A server certificate with its key and its CA. */
export type TlsChain = {
  /** as Node.js calls it: `ec`, `rsa`, or another one of the operator's */
  readonly keyType: string;
  /** PEM */
  readonly key: string;
  /** PEM: the server certificate, without its CA, which devices have: it need not fit into their buffers */
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
  /** This call made a site CA although the gateway has served before: devices that trust an earlier one refuse the broker. */
  readonly madeCaAgain?: boolean;
};

/** Paths of one chain. `next…` exist during a rotation of the CA. */
export type TlsFiles = {
  keyType: KeyType;
  caCert: string;
  caKey: string;
  cert: string;
  key: string;
  nextCert: string;
  nextKey: string;
};

export const tlsFolderIn = (dataDir: string): string => join(dataDir, 'tls');

export function tlsFilesIn(dataDir: string, keyType: KeyType = 'ec'): TlsFiles {
  const named = (name: string, ending: 'crt' | 'key') =>
    join(tlsFolderIn(dataDir), `${name}${keyType === 'rsa' ? '-rsa' : ''}.${ending}`);
  return {
    keyType,
    caCert: named('site-ca', 'crt'),
    caKey: named('site-ca', 'key'),
    cert: named('server', 'crt'),
    key: named('server', 'key'),
    nextCert: named('next-ca', 'crt'),
    nextKey: named('next-ca', 'key'),
  };
}

/** The chains that are served, the one that most clients get first. Files of the other key type stay where they are. */
export const servedFiles = ({ dataDir, keyType = 'ec' }: TlsOptions): readonly TlsFiles[] =>
  keyTypes(keyType).map((type) => tlsFilesIn(dataDir, type));

/** Reads the chains that exist, and changes nothing. @throws when there is none yet */
export function readMaterial(served: readonly TlsFiles[]): TlsMaterial {
  const present = served.filter(({ cert }) => isThere(cert));
  return joinChains((present.length === 0 ? served : present).map(readChain));
}

/** @throws when there is none */
export function joinChains([first, beside]: readonly TlsChain[]): TlsMaterial {
  if (first === undefined) throw new Error('no key type is served');
  return beside === undefined ? first : { ...first, beside };
}

export const chainsOf = ({ beside, ...first }: TlsMaterial): readonly TlsChain[] =>
  beside === undefined ? [first] : [first, beside];

function readChain(files: TlsFiles): TlsChain {
  if (!isThere(files.cert))
    throw new Error(
      `there is no ${files.cert} yet; the broker makes it at its first start. In compose it is in the broker's container: docker compose exec broker cvm tls …`,
    );
  // these keys are not needed here; reading them reports permissions that are too wide
  for (const file of [files.caKey, files.nextKey]) if (isThere(file)) readKey(file);
  const [caPem, cert, key] = [readFileSync(files.caCert, 'utf8'), readFileSync(files.cert, 'utf8'), readKey(files.key)];
  return {
    ...describeCertificate(cert),
    key,
    cert,
    caFile: files.caCert,
    caPem,
    ...describeCa(new X509Certificate(caPem)),
    ...(isThere(files.nextCert) ? { nextCaFingerprint: readCertificate(files.nextCert).fingerprint256 } : {}),
    origin: 'kept',
  };
}

export function describeCertificate(
  cert: string,
): Pick<TlsChain, 'keyType' | 'fingerprint' | 'spkiPin' | 'names' | 'notBefore' | 'notAfter'> {
  const certificate = new X509Certificate(cert);
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' });
  return {
    keyType: certificate.publicKey.asymmetricKeyType ?? 'unknown',
    fingerprint: certificate.fingerprint256,
    spkiPin: `sha256//${createHash('sha256').update(spki).digest('base64')}`,
    names: distinct(alternativesOf(certificate).map(([, value]) => value)),
    notBefore: new Date(certificate.validFrom),
    notAfter: new Date(certificate.validTo),
  };
}

/** Its alternative names, each as `dns gateway.example` or `ip 192.0.2.1`. */
export const describeAlternatives = (certificate: X509Certificate): string[] =>
  alternativesOf(certificate).map(([type, value]) => `${type} ${distinct([value])}`);

function alternativesOf({ subjectAltName = '' }: X509Certificate): [type: string, value: string][] {
  return subjectAltName.split(', ').map((name) => {
    const [, kind, value = name] = /^(DNS|IP Address):(.*)$/.exec(name) ?? [];
    return [kind === 'DNS' ? 'dns' : 'ip', value];
  });
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

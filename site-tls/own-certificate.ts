import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { systemCure } from '../runtime/errors.ts';
import { givenByOperator, ofOtherForm, readKey } from './key-file.ts';
import { describeCertificate, type TlsMaterial } from './material.ts';

const cure =
  'put a valid certificate and its key into the files of CVM_TLS_CERT and CVM_TLS_KEY, and start again; or set the clock of this machine, where it is wrong';

/** Reads the operator's certificate and key. @throws with every problem at once */
export function loadOwnCertificate(
  { certFile, keyFile }: { certFile: string; keyFile: string },
  now: Date,
): TlsMaterial {
  const problems: string[] = [];
  const attempt = <T>(what: string, read: () => T): T | undefined => {
    try {
      return read();
    } catch (error) {
      const cure = systemCure(error);
      const reason = error instanceof Error ? error.message : String(error);
      problems.push(`${what}: ${reason}${cure === undefined ? '' : ` (${cure})`}`);
      return undefined;
    }
  };
  const cert = attempt(`CVM_TLS_CERT ${certFile}`, () => readFileSync(certFile, 'utf8'));
  const key = attempt('CVM_TLS_KEY', () => readKey(keyFile, givenByOperator));
  const certificate = cert === undefined ? undefined : attempt(`CVM_TLS_CERT ${certFile}`, () => readCertificate(cert));
  const privateKey = key === undefined ? undefined : createPrivateKey(key);
  if (certificate !== undefined && privateKey !== undefined && !certificate.checkPrivateKey(privateKey))
    problems.push('CVM_TLS_KEY does not belong to CVM_TLS_CERT');
  if (certificate !== undefined && new Date(certificate.validTo) <= now)
    problems.push(
      `CVM_TLS_CERT expired on ${certificate.validTo}; the clock of this machine shows ${now.toISOString()}`,
    );
  if (problems.length > 0 || cert === undefined || key === undefined)
    throw Object.assign(new Error(`the TLS certificate cannot be used: ${problems.join('; ')}`), { cure });
  return { ...describeCertificate(cert), key, cert, origin: 'own' };
}

/** @throws in words for a person: OpenSSL's are "no start line" */
function readCertificate(text: string): X509Certificate {
  try {
    return new X509Certificate(text);
  } catch (error) {
    throw new Error(problemOf(text), { cause: error });
  }
}

function problemOf(text: string): string {
  if (text.includes('-----BEGIN CERTIFICATE REQUEST') || text.includes('-----BEGIN NEW CERTIFICATE REQUEST'))
    return 'is a request for a certificate: name the file with the certificate that the CA made of it';
  if (text.includes('-----BEGIN CERTIFICATE')) return 'has a certificate that cannot be read: copy the file once more';
  return `has no certificate in PEM (a text with a line -----BEGIN CERTIFICATE-----): ${ofOtherForm('openssl x509 -inform DER')}`;
}

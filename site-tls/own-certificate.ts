import { createPrivateKey, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { systemCure } from '../runtime/errors.ts';
import { givenByOperator, readKey } from './key-file.ts';
import { describeCertificate, type TlsMaterial } from './material.ts';

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
  const certificate =
    cert === undefined ? undefined : attempt(`CVM_TLS_CERT ${certFile}`, () => new X509Certificate(cert));
  const privateKey = key === undefined ? undefined : createPrivateKey(key);
  if (certificate !== undefined && privateKey !== undefined && !certificate.checkPrivateKey(privateKey))
    problems.push('CVM_TLS_KEY does not belong to CVM_TLS_CERT');
  if (certificate !== undefined && new Date(certificate.validTo) <= now)
    problems.push(
      `CVM_TLS_CERT expired on ${certificate.validTo}, unless the clock of this machine is wrong: it shows ${now.toISOString()}`,
    );
  if (problems.length > 0 || cert === undefined || key === undefined)
    throw new Error(`the TLS certificate cannot be used: ${problems.join('; ')}`);
  return { ...describeCertificate(cert), key, cert, origin: 'own' };
}

import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';

/** SHA-256 of Amazon Root CA 1. @see https://docs.aws.amazon.com/iot/latest/developerguide/server-authentication.html */
const amazonRootCa1 = '8E:CD:E6:88:4F:3D:87:B1:12:5B:A3:1A:C3:FC:B1:3D:70:16:DE:7F:57:CC:90:4F:E1:CB:97:C6:AE:98:19:6E';

/**
 * The CA certificate with which devices verify AWS IoT's endpoint, PEM: Amazon Root CA 1 as Node ships it, so that
 * nothing is fetched, or the certificate in `file`.
 * @throws when the file is not a certificate
 */
export function amazonRootCa(file?: string): string {
  if (file !== undefined) return readCertificate(file);
  const found = rootCertificates.find((pem) => new X509Certificate(pem).fingerprint256 === amazonRootCa1);
  if (found === undefined)
    throw new Error('this Node.js does not ship Amazon Root CA 1; download it and name the file in CVM_ROOT_CA');
  return `${found.trim()}\n`;
}

function readCertificate(file: string): string {
  try {
    return new X509Certificate(readFileSync(file)).toString();
  } catch (error) {
    throw new Error(
      `CVM_ROOT_CA: ${file} is not a certificate in PEM: ${error instanceof Error ? error.message : error}`,
    );
  }
}

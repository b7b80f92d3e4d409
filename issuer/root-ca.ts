import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { rootCertificates } from 'node:tls';

/** SHA-256 of Amazon Root CA 1. @see https://docs.aws.amazon.com/iot/latest/developerguide/server-authentication.html */
const amazonRootCa1 = '8E:CD:E6:88:4F:3D:87:B1:12:5B:A3:1A:C3:FC:B1:3D:70:16:DE:7F:57:CC:90:4F:E1:CB:97:C6:AE:98:19:6E';

/**
 * The CA certificate, in PEM, with which devices verify the endpoint of AWS IoT: the one in `file`, or else Amazon Root CA 1
 * as Node.js ships it, so no download is needed.
 * @throws when the file cannot be read, or is not one certificate in PEM
 */
export function amazonRootCa(file?: string): string {
  if (file !== undefined) return readCertificate(file);
  const found = rootCertificates.find((pem) => new X509Certificate(pem).fingerprint256 === amazonRootCa1);
  if (found === undefined)
    throw new Error('this Node.js does not ship Amazon Root CA 1; download it and name the file in CVM_ROOT_CA');
  return new X509Certificate(found).toString();
}

/**
 * Whether the certificate in a file has the key of a root CA of Amazon Trust Services, cross-signed ones included; undefined
 * when it cannot be read.
 * @see https://www.amazontrust.com/repository/
 */
export function isAmazonRoot(file: string): boolean | undefined {
  try {
    const key = keyOf(readCertificate(file));
    return rootCertificates.some((pem) => isOfAmazon(new X509Certificate(pem).subject) && keyOf(pem) === key);
  } catch {
    return undefined;
  }
}

const isOfAmazon = (subject: string) => /^O=Amazon$|^CN=Starfield Services Root/m.test(subject);
const keyOf = (pem: string) =>
  new X509Certificate(pem).publicKey.export({ format: 'der', type: 'spki' }).toString('hex');

function readCertificate(file: string): string {
  const text = attempt(`${file} cannot be read`, () => readFileSync(file, 'utf8'));
  const count = text.split('-----BEGIN CERTIFICATE-----').length - 1;
  if (count === 0) throw new Error(`CVM_ROOT_CA: ${file} holds no certificate in PEM`);
  // a device gets one; if the first were taken silently, devices might fail much later
  if (count > 1)
    throw new Error(
      `CVM_ROOT_CA: ${file} holds ${count} certificates; devices get one: leave only that one in the file`,
    );
  // parsed and written again, so other text in the file is not sent to devices
  return attempt(`${file} is not a valid certificate`, () => new X509Certificate(text).toString());
}

function attempt<T>(failure: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`CVM_ROOT_CA: ${failure}: ${reason}`, { cause: error });
  }
}

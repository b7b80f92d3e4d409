import { createHash, KeyObject, webcrypto } from 'node:crypto';
import { Pkcs10CertificateRequestGenerator } from '../runtime/x509.ts';

const algorithm = { name: 'ECDSA', namedCurve: 'P-256', hash: 'SHA-256' };

export type EcKey = {
  /** PKCS#8, which mbedTLS and OpenSSL read */
  readonly privateKeyPem: string;
  readonly csrPem: string;
  /** hex SHA-256 of the public key (SPKI) */
  readonly keyDigest: string;
};

/**
 * The owner tag in the subject of certificates for keys that the gateway made: it tells the gateway's certificates from
 * others in the same AWS account. X.520 allows 64 characters each.
 */
export type OwnerTag = { readonly organization: 'cvm-gateway'; readonly unit: string };

/** @param table the association table, which tells one fleet's certificates from another's */
export function ownerTagOf(table: string): OwnerTag {
  const unit = table.length <= 64 ? table : createHash('sha256').update(table).digest('hex');
  return { organization: 'cvm-gateway', unit };
}

/** A P-256 key pair made at the gateway, and its CSR. Made as a WebCrypto key, since the CSR is signed with one. */
export async function makeEcKey(serial: string, ownerTag: OwnerTag): Promise<EcKey> {
  const keys = await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify']);
  // as a structure, not as text: a serial may contain characters that have a meaning in a distinguished name
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ O: [ownerTag.organization] }, { OU: [ownerTag.unit] }, { CN: [serial] }],
    keys,
    signingAlgorithm: algorithm,
  });
  const spki = KeyObject.from(keys.publicKey).export({ format: 'der', type: 'spki' });
  return {
    privateKeyPem: KeyObject.from(keys.privateKey).export({ format: 'pem', type: 'pkcs8' }).toString(),
    csrPem: `${request.toString('pem')}\n`,
    keyDigest: createHash('sha256').update(spki).digest('hex'),
  };
}

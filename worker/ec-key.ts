import { createHash, webcrypto } from 'node:crypto';
import { newP256Key } from '../runtime/p256.ts';
import { Pkcs10CertificateRequestGenerator } from '../runtime/x509.ts';

const signingAlgorithm = { name: 'ECDSA', hash: 'SHA-256' };

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

/** A P-256 key pair made at the gateway, and its CSR. */
export async function makeEcKey(serial: string, ownerTag: OwnerTag): Promise<EcKey> {
  const { privateKeyPem, keys } = await newP256Key();
  // as a structure, not as text: a serial may contain characters that have a meaning in a distinguished name
  const request = await Pkcs10CertificateRequestGenerator.create({
    name: [{ O: [ownerTag.organization] }, { OU: [ownerTag.unit] }, { CN: [serial] }],
    keys,
    signingAlgorithm,
  });
  const spki = Buffer.from(await webcrypto.subtle.exportKey('spki', keys.publicKey));
  return {
    privateKeyPem,
    csrPem: `${request.toString('pem')}\n`,
    keyDigest: createHash('sha256').update(spki).digest('hex'),
  };
}

import { createHash, type KeyObject, sign } from 'node:crypto';
import { derTag, writeDer } from '../runtime/der.ts';
import { newP256Pair } from '../runtime/p256.ts';
import { toPem } from '../runtime/pem.ts';

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
export function makeEcKey(serial: string, { organization, unit }: OwnerTag): EcKey {
  const { privateKey, privateKeyPem, spki } = newP256Pair();
  const subject = [nameOf(oids.organization, organization), nameOf(oids.unit, unit), nameOf(oids.commonName, serial)];
  return {
    privateKeyPem,
    csrPem: toPem('CERTIFICATE REQUEST', signedRequest(subject, spki, privateKey)),
    keyDigest: createHash('sha256').update(spki).digest('hex'),
  };
}

const oidOf = (hex: string) => writeDer(derTag.oid, Buffer.from(hex, 'hex'));

/** X.520 attribute types, and ecdsa-with-SHA256 (RFC 5758 §3.2) */
const oids = {
  commonName: oidOf('550403'),
  organization: oidOf('55040a'),
  unit: oidOf('55040b'),
  ecdsaWithSha256: oidOf('2a8648ce3d040302'),
};

/** One name of a subject. UTF8String takes every character that a serial may have (RFC 5280 §4.1.2.4). */
function nameOf(type: Buffer, text: string): Buffer {
  const value = writeDer(derTag.utf8String, Buffer.from(text));
  return writeDer(derTag.set, writeDer(derTag.sequence, type, value));
}

/** A certification request of version 0 without attributes, signed by its own key (RFC 2986 §4). */
function signedRequest(subject: readonly Buffer[], spki: Buffer, key: KeyObject): Buffer {
  const version = writeDer(derTag.integer, Buffer.from([0]));
  const info = writeDer(derTag.sequence, version, writeDer(derTag.sequence, ...subject), spki, writeDer(0xa0));
  const algorithm = writeDer(derTag.sequence, oids.ecdsaWithSha256);
  const signature = writeDer(derTag.bitString, Buffer.from([0]), sign('sha256', info, key));
  return writeDer(derTag.sequence, info, algorithm, signature);
}

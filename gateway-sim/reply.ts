import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { readPayload } from '../protocol/encoding.ts';
import { derTag, readDer, readWithin } from '../runtime/der.ts';
import { derOf } from '../runtime/pem.ts';
import { readPrivateKey } from './private-key.ts';

/** What a device reads of a reply. */
export type Reply = {
  status?: string;
  id?: string;
  errorCode?: string;
  retryAfter?: number;
  position?: number;
  etaSeconds?: number;
  certificateId?: string;
  certificatePem?: string;
  privateKey?: string;
  thingName?: string;
};

/** @throws Error when the payload is neither a JSON object nor a CBOR map */
export function readReply(payload: Uint8Array): Reply {
  const read = readPayload(payload);
  if ('fault' in read) throw new Error(`the answer cannot be read: ${read.fault}`);
  return read.value as Reply;
}

export type Expected = {
  readonly serial: string;
  readonly id: string;
  /** of a device that made its key pair itself: its public key, DER */
  readonly ownSpki: Buffer | undefined;
  /** of the CA that must have signed the certificate, where it is given */
  readonly issuerKey: KeyObject | undefined;
};

/** The fault of an accepted answer; undefined when it has none. A device without its own key needs a matching one in the answer. */
export function faultOf(reply: Reply, { serial, id, ownSpki, issuerKey }: Expected): string | undefined {
  if (reply.id !== id) return 'the id is not the one that was asked with';
  if (reply.thingName !== serial) return 'the thing name is not the serial';
  try {
    const der = derOf(reply.certificatePem ?? '');
    if (createHash('sha256').update(der).digest('hex') !== reply.certificateId)
      return 'certificateId is not the hash of the certificate';
    if (issuerKey !== undefined && !new X509Certificate(der).verify(issuerKey))
      return 'the certificate was not signed by the CA that was given';
    return isForKey(der, ownSpki, reply.privateKey ?? '')
      ? undefined
      : 'the private key does not belong to the certificate';
  } catch {
    return 'certificate or private key cannot be read';
  }
}

/** OpenSSL takes 0.45 ms to read a certificate: where the device's key is known, the place of the key in it is all that is read. */
function isForKey(certificate: Buffer, ownSpki: Buffer | undefined, privateKeyPem: string): boolean {
  if (ownSpki !== undefined) return spkiOf(certificate)?.equals(ownSpki) === true;
  return new X509Certificate(certificate).checkPrivateKey(readPrivateKey(privateKeyPem));
}

/** The public key of a certificate of version 3 (RFC 5280 §4.1): version, number, algorithm, issuer, validity and subject come before it. */
function spkiOf(certificate: Buffer): Buffer | undefined {
  const [toBeSigned] = readWithin(readDer(certificate)[0], derTag.sequence);
  return readWithin(toBeSigned, derTag.sequence)[6]?.whole;
}

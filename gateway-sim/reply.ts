import { createHash, type KeyObject, X509Certificate } from 'node:crypto';
import { readPayload } from '../protocol/encoding.ts';
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
  /** of a device that made its key pair itself */
  readonly ownKey: KeyObject | undefined;
  /** of the CA that must have signed the certificate, where it is given */
  readonly issuerKey: KeyObject | undefined;
};

/** The fault of an accepted answer; undefined when it has none. A device without its own key needs a matching one in the answer. */
export function faultOf(reply: Reply, { serial, id, ownKey, issuerKey }: Expected): string | undefined {
  if (reply.id !== id) return 'the id is not the one that was asked with';
  if (reply.thingName !== serial) return 'the thing name is not the serial';
  try {
    const certificate = new X509Certificate(reply.certificatePem ?? '');
    if (createHash('sha256').update(certificate.raw).digest('hex') !== reply.certificateId)
      return 'certificateId is not the hash of the certificate';
    if (issuerKey !== undefined && !certificate.verify(issuerKey))
      return 'the certificate was not signed by the CA that was given';
    return certificate.checkPrivateKey(ownKey ?? readPrivateKey(reply.privateKey ?? ''))
      ? undefined
      : 'the private key does not belong to the certificate';
  } catch {
    return 'certificate or private key cannot be read';
  }
}

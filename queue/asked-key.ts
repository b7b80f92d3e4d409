import { createHash } from 'node:crypto';
import { derTag, readDer, readWithin } from '../runtime/der.ts';
import { toPem } from '../runtime/pem.ts';
import type { ProvisioningRequest } from './provisioning-request.ts';

/** What a stored request says of its key: a CSR as base64 of its DER; in those of 0.1.0 as PEM, with the digest of its key. */
type StoredKey = {
  readonly csr?: string;
  readonly csrPem?: string;
  readonly keyDigest?: string;
  readonly key?: ProvisioningRequest['key'];
};

/** The key that the certificate is to be for. Undefined when a stored request does not say it. */
export function askedKey({ csr, csrPem, keyDigest, key }: StoredKey) {
  if (csr !== undefined) return keyOfCsr(Buffer.from(csr, 'base64'));
  if (key === undefined) return undefined;
  return csrPem === undefined || keyDigest === undefined ? { key } : { key, csrPem, keyDigest };
}

/** The broker has checked it (`broker/csr.ts`). Undefined for what is no CSR: no gateway stored that. */
function keyOfCsr(der: Buffer) {
  try {
    const [info] = readWithin(readDer(der)[0], derTag.sequence);
    const spki = readWithin(info, derTag.sequence)[2]?.whole;
    if (spki === undefined) return undefined;
    const keyDigest = createHash('sha256').update(spki).digest('hex');
    return { key: 'rsa', csrPem: toPem('CERTIFICATE REQUEST', der), keyDigest } as const;
  } catch {
    return undefined;
  }
}

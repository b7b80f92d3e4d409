import { createHash, X509Certificate } from 'node:crypto';
import type { Certificate, CertificateDescription, CertificateStatus } from './issuer.ts';

/** The SDK's types let every field of an answer be absent. @throws when AWS left out a field that it promises */
export function required(value: string | undefined, operation: string): string {
  if (value === undefined) throw new Error(`${operation}: the answer of AWS IoT lacks a field that it promises`);
  return value;
}

export function statusOf(status: string | undefined): CertificateStatus {
  if (status === 'ACTIVE') return 'active';
  return status === 'INACTIVE' ? 'inactive' : 'other';
}

type CreateAnswer = Readonly<
  Partial<Record<'certificateId' | 'certificateArn' | 'certificatePem', string | undefined>>
>;

export function certificateOf(answer: CreateAnswer, operation: string): Certificate {
  return {
    certificateId: required(answer.certificateId, operation),
    certificateArn: required(answer.certificateArn, operation),
    certificatePem: required(answer.certificatePem, operation),
  };
}

/** The key and the subject that a certificate certifies. */
export function certifiedBy(certificatePem: string): Pick<CertificateDescription, 'keyDigest' | 'subject'> {
  const certificate = new X509Certificate(certificatePem);
  const spki = certificate.publicKey.export({ format: 'der', type: 'spki' });
  const subject = Object.fromEntries(
    certificate.subject.split('\n').map((line): [string, string] => {
      const at = line.indexOf('=');
      return [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  return { keyDigest: createHash('sha256').update(spki).digest('hex'), subject };
}

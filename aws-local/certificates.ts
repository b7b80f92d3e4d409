import { type Account, certificateOf, type Input, named, type Operation, page, seconds, text } from './account.ts';
import type { Issued } from './certificate-authority.ts';
import { refuse } from './errors.ts';
import type { Certificate } from './store.ts';

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateKeysAndCertificate.html */
export const CreateKeysAndCertificate: Operation = async (account, input) => {
  const pair = await account.keys.take();
  const certificate = register(account, await account.authority.certifyKey(pair.publicKey), input);
  return { ...created(certificate), keyPair: { PublicKey: pair.publicKey, PrivateKey: pair.privateKey } };
};

/** The same CSR gives another certificate each time. @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateCertificateFromCsr.html */
export const CreateCertificateFromCsr: Operation = async (account, input) => {
  const csr = text(input, 'certificateSigningRequest');
  if (csr === undefined || csr.length > 4096)
    refuse('InvalidRequestException', "Value at 'certificateSigningRequest' must have 1 to 4096 characters");
  return created(register(account, await account.authority.certifyCsr(csr), input));
};

function register({ store, arn }: Account, { certificateId, certificatePem }: Issued, input: Input): Certificate {
  const now = seconds();
  const active = input.setAsActive === true || input.setAsActive === 'true';
  const certificate: Certificate = {
    certificateId,
    certificateArn: arn(`cert/${certificateId}`),
    certificatePem,
    status: active ? 'ACTIVE' : 'INACTIVE',
    creationDate: now,
    lastModifiedDate: now,
  };
  store.put('certificate', certificateId, certificate);
  return certificate;
}

const created = ({ certificateArn, certificateId, certificatePem }: Certificate) => ({
  certificateArn,
  certificateId,
  certificatePem,
});

export const DescribeCertificate: Operation = ({ store }, input) => {
  const { certificatePem, ...rest } = certificateOf(store, named(input, 'certificateId'));
  return { certificateDescription: { ...rest, certificatePem, ownedBy: '', certificateMode: 'DEFAULT' } };
};

/** Idempotent. @see https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateCertificate.html */
export const UpdateCertificate: Operation = ({ store, onCertificateChange }, input) => {
  const certificate = certificateOf(store, named(input, 'certificateId'));
  const status = input.newStatus;
  if (status !== 'ACTIVE' && status !== 'INACTIVE' && status !== 'REVOKED')
    return refuse('InvalidRequestException', "Value at 'newStatus' must be ACTIVE, INACTIVE or REVOKED");
  store.put('certificate', certificate.certificateId, { ...certificate, status, lastModifiedDate: seconds() });
  for (const listener of onCertificateChange) listener(certificate.certificateId);
  return {};
};

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteCertificate.html */
export const DeleteCertificate: Operation = ({ store, onCertificateChange }, input) => {
  const { certificateId, certificateArn, status } = certificateOf(store, named(input, 'certificateId'));
  const forced = input.forceDelete === 'true';
  if (status === 'ACTIVE')
    refuse('CertificateStateException', 'Certificate must be deactivated (not ACTIVE) before deletion');
  if (store.all('thingPrincipal').some((row) => row.principal === certificateArn))
    refuse('DeleteConflictException', 'Things must be detached before deletion');
  const policies = store.all('policyTarget').filter((row) => row.target === certificateArn);
  if (policies.length > 0 && !forced)
    refuse('DeleteConflictException', 'Certificate policies must be detached before deletion');
  for (const { policyName, target } of policies) store.remove('policyTarget', `${policyName} ${target}`);
  store.remove('certificate', certificateId);
  for (const listener of onCertificateChange) listener(certificateId);
  return {};
};

export const ListCertificates: Operation = ({ store }, input) => {
  const all = store.all('certificate').sort((a, b) => a.creationDate - b.creationDate);
  // newest first unless the caller asks otherwise
  const { items, next } = page(input.isAscendingOrder === 'true' ? all : all.reverse(), input, 'pageSize', 'marker');
  return {
    certificates: items.map(({ certificateArn, certificateId, status, creationDate }) => ({
      certificateArn,
      certificateId,
      status,
      creationDate,
      certificateMode: 'DEFAULT',
    })),
    nextMarker: next,
  };
};

export const DescribeEndpoint: Operation = ({ endpointAddress }, input) => {
  const type = text(input, 'endpointType') ?? 'iot:Data';
  if (!['iot:Data', 'iot:Data-ATS', 'iot:CredentialProvider', 'iot:Jobs'].includes(type))
    refuse('InvalidRequestException', `Endpoint type ${type} is not valid`);
  return { endpointAddress };
};

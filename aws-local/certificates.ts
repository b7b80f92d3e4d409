import { type Account, certificateArn, certificateOf, type Input, type Operation, page, seconds } from './account.ts';
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
export const CreateCertificateFromCsr: Operation = async (account, input) =>
  created(register(account, await account.authority.certifyCsr(input.certificateSigningRequest ?? ''), input));

function register(account: Account, { certificateId, certificatePem }: Issued, { setAsActive }: Input): Certificate {
  const now = seconds();
  const certificate: Certificate = {
    certificateId,
    certificateArn: certificateArn(account, certificateId),
    certificatePem,
    status: setAsActive === true ? 'ACTIVE' : 'INACTIVE',
    creationDate: now,
    lastModifiedDate: now,
  };
  account.store.put('certificate', certificateId, certificate);
  return certificate;
}

const created = ({ certificateArn, certificateId, certificatePem }: Certificate) => ({
  certificateArn,
  certificateId,
  certificatePem,
});

export const DescribeCertificate: Operation = (account, input) => {
  const { certificatePem, ...rest } = certificateOf(account, input.certificateId);
  const ownedBy = account.place.accountId;
  return { certificateDescription: { ...rest, certificatePem, ownedBy, certificateMode: 'DEFAULT' } };
};

/** A caller may set these; the others are AWS's own. @see https://docs.aws.amazon.com/iot/latest/apireference/API_UpdateCertificate.html */
const settable = ['ACTIVE', 'INACTIVE', 'REVOKED'] as const;

/**
 * Idempotent. A revocation is for good; which error AWS gives then is believed.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/revoke-ca-cert.html
 */
export const UpdateCertificate: Operation = (account, { certificateId, newStatus }) => {
  const certificate = certificateOf(account, certificateId);
  const status =
    settable.find((each) => each === newStatus) ??
    refuse('InvalidRequestException', `The status ${newStatus} is used by AWS IoT only, or is deprecated`);
  if (certificate.status === 'REVOKED' && status !== 'REVOKED')
    refuse('CertificateStateException', 'The status of a certificate that is REVOKED cannot be changed');
  account.store.put('certificate', certificate.certificateId, { ...certificate, status, lastModifiedDate: seconds() });
  for (const listener of account.onCertificateChange) listener(certificate.certificateId);
  return {};
};

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteCertificate.html */
export const DeleteCertificate: Operation = (account, input) => {
  const { store, onCertificateChange } = account;
  const { certificateId, certificateArn, status } = certificateOf(account, input.certificateId);
  if (status === 'ACTIVE')
    refuse('CertificateStateException', 'Certificate must be deactivated (not ACTIVE) before deletion');
  if (store.all('thingPrincipal').some((row) => row.principal === certificateArn))
    refuse('DeleteConflictException', 'Things must be detached before deletion');
  const policies = store.all('policyTarget').filter((row) => row.target === certificateArn);
  if (policies.length > 0 && input.forceDelete !== true)
    refuse('DeleteConflictException', 'Certificate policies must be detached before deletion');
  for (const { policyName, target } of policies) store.remove('policyTarget', `${policyName} ${target}`);
  store.remove('certificate', certificateId);
  for (const listener of onCertificateChange) listener(certificateId);
  return {};
};

export const ListCertificates: Operation = ({ store }, input) => {
  const all = store.all('certificate').sort((a, b) => a.creationDate - b.creationDate);
  // newest first unless the caller asks otherwise
  const { items, next } = page(input.isAscendingOrder === true ? all : all.reverse(), input);
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

const endpointTypes = ['iot:Data', 'iot:Data-ATS', 'iot:CredentialProvider', 'iot:Jobs', 'iot:Data-Beta'];

export const DescribeEndpoint: Operation = ({ endpointAddress }, { endpointType = 'iot:Data' }) => {
  if (!endpointTypes.includes(endpointType))
    refuse('InvalidRequestException', `Endpoint type ${endpointType} is not valid`);
  return { endpointAddress };
};

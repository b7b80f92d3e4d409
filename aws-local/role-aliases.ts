import { randomBytes } from 'node:crypto';
import { type Account, arnOf, type Input, type Operation, seconds } from './account.ts';
import { ApiError, refuse } from './errors.ts';
import { policyDocuments } from './policies.ts';
import { allows } from './policy-document.ts';
import type { RoleAlias } from './store.ts';

/** @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateRoleAlias.html */
export const CreateRoleAlias: Operation = (account, input) => {
  const { roleAlias, roleArn, credentialDurationSeconds = 3600 } = input;
  if (!/^arn:(aws[a-zA-Z-]*)?:iam::\d{12}:role\/?[\w+=,.@/-]+$/.test(roleArn))
    refuse('InvalidRequestException', `Value '${roleArn}' at 'roleArn' is no ARN of a role`);
  if (account.store.get('roleAlias', roleAlias) !== undefined)
    refuse('ResourceAlreadyExistsException', `RoleAlias already exists: ${roleAlias}`);
  account.store.put('roleAlias', roleAlias, { roleAlias, roleArn, credentialDurationSeconds, createdAt: seconds() });
  return { roleAlias, roleAliasArn: arnOf(account, `rolealias/${roleAlias}`) };
};

export const DescribeRoleAlias: Operation = (account, input) => {
  const { createdAt, ...alias } = aliasOf(account, input);
  const roleAliasArn = arnOf(account, `rolealias/${alias.roleAlias}`);
  const dates = { creationDate: createdAt, lastModifiedDate: createdAt };
  return { roleAliasDescription: { ...alias, roleAliasArn, owner: account.place.accountId, ...dates } };
};

export const DeleteRoleAlias: Operation = (account, input) => {
  account.store.remove('roleAlias', aliasOf(account, input).roleAlias);
  return {};
};

function aliasOf({ store }: Account, { roleAlias }: Pick<Input, 'roleAlias'>): RoleAlias {
  return (
    store.get('roleAlias', roleAlias) ?? refuse('ResourceNotFoundException', `RoleAlias does not exist: ${roleAlias}`)
  );
}

/**
 * Credentials for a certificate, as AWS's credentials provider gives them. The order of the checks and the texts are those that the notes of
 * awslabs' session helper for Python list; that of a certificate that is not ACTIVE is believed.
 * @param thingName of the header x-amzn-iot-thingname
 * @throws ApiError
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/authorizing-direct-aws.html
 */
export function credentialsFor(
  account: Account,
  asked: { readonly certificateId: string; readonly roleAlias: string; readonly thingName: string | undefined },
): object {
  const { store } = account;
  const { certificateId, roleAlias, thingName } = asked;
  const denied = (message: string): never => {
    throw new ApiError('AccessDeniedException', message, 403);
  };
  const certificate = store.get('certificate', certificateId);
  if (certificate?.status !== 'ACTIVE') return denied('Certificate is invalid on this endpoint');
  const arn = certificate.certificateArn;
  const thing = thingName === undefined ? undefined : store.get('thing', thingName);
  if (thingName !== undefined && store.get('thingPrincipal', `${thing?.thingName} ${arn}`) === undefined)
    return denied('Invalid thing name passed');
  const connection = { clientId: '', thing, connectAttributes: [] };
  const resource = arnOf(account, `rolealias/${roleAlias}`);
  if (!allows(policyDocuments(account, arn), 'iot:AssumeRoleWithCertificate', resource, connection))
    return denied('Access Denied');
  const alias = store.get('roleAlias', roleAlias);
  if (alias === undefined) throw new ApiError('ResourceNotFoundException', 'Role alias does not exist', 404);
  const end = new Date(Date.now() + alias.credentialDurationSeconds * 1000);
  return {
    credentials: {
      accessKeyId: `ASIA${randomBytes(8).toString('hex').toUpperCase()}`,
      secretAccessKey: randomBytes(30).toString('base64'),
      sessionToken: randomBytes(96).toString('base64'),
      expiration: end.toISOString().replace(/\.\d+Z$/, 'Z'),
    },
  };
}

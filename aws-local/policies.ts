import { type Account, arnOf, certificateOf, type Input, type Operation, page, seconds } from './account.ts';
import { resourceOf } from './arn.ts';
import { refuse } from './errors.ts';
import { checkPolicyDocument } from './policy-document.ts';
import type { Policy, PolicyVersion } from './store.ts';

const maxVersions = 5;
const maxPoliciesPerPrincipal = 10;

export const CreatePolicy: Operation = (account, input) => {
  const { policyName, policyDocument: document } = input;
  checkPolicyDocument(document);
  if (account.store.get('policy', policyName))
    refuse('ResourceAlreadyExistsException', `Policy cannot be created - name already exists (name=${policyName})`);
  account.store.put('policy', policyName, {
    policyName,
    lastVersion: 1,
    versions: [{ versionId: '1', document, isDefault: true, createDate: seconds() }],
  });
  return {
    policyName,
    policyArn: arnOf(account, `policy/${policyName}`),
    policyDocument: document,
    policyVersionId: '1',
  };
};

export const GetPolicy: Operation = (account, input) => {
  const policy = policyOf(account, input);
  const version = defaultVersion(policy);
  return {
    policyName: policy.policyName,
    policyArn: arnOf(account, `policy/${policy.policyName}`),
    policyDocument: version.document,
    defaultVersionId: version.versionId,
    creationDate: policy.versions[0]?.createDate,
    lastModifiedDate: policy.versions.at(-1)?.createDate,
  };
};

export const ListPolicies: Operation = (account, input) => {
  const { items, next } = page(account.store.all('policy'), input);
  return {
    policies: items.map(({ policyName }) => ({ policyName, policyArn: arnOf(account, `policy/${policyName}`) })),
    nextMarker: next,
  };
};

export const DeletePolicy: Operation = (account, input) => {
  const policy = policyOf(account, input);
  if (account.store.all('policyTarget').some((row) => row.policyName === policy.policyName))
    refuse(
      'DeleteConflictException',
      'The policy cannot be deleted as the policy is attached to one or more principals',
    );
  if (policy.versions.length > 1)
    refuse(
      'DeleteConflictException',
      'Cannot delete the policy because it has one or more policy versions attached to it',
    );
  account.store.remove('policy', policy.policyName);
  return {};
};

export const CreatePolicyVersion: Operation = (account, input) => {
  const [policy, document] = [policyOf(account, input), input.policyDocument];
  checkPolicyDocument(document);
  if (policy.versions.length >= maxVersions)
    refuse(
      'VersionsLimitExceededException',
      `The policy ${policy.policyName} already has the maximum number of versions (${maxVersions})`,
    );
  const isDefault = input.setAsDefault === true;
  const versionId = String(policy.lastVersion + 1);
  const version: PolicyVersion = { versionId, document, isDefault: false, createDate: seconds() };
  const next = { ...policy, lastVersion: policy.lastVersion + 1, versions: [...policy.versions, version] };
  account.store.put('policy', policy.policyName, isDefault ? withDefault(next, versionId) : next);
  return {
    policyArn: arnOf(account, `policy/${policy.policyName}`),
    policyDocument: document,
    policyVersionId: versionId,
    isDefaultVersion: isDefault,
  };
};

export const ListPolicyVersions: Operation = (account, input) => ({
  policyVersions: policyOf(account, input).versions.map(({ versionId, isDefault, createDate }) => ({
    versionId,
    isDefaultVersion: isDefault,
    createDate,
  })),
});

export const GetPolicyVersion: Operation = (account, input) => {
  const policy = policyOf(account, input);
  const { versionId, document, isDefault, createDate } = versionOf(policy, input);
  return {
    policyName: policy.policyName,
    policyArn: arnOf(account, `policy/${policy.policyName}`),
    policyDocument: document,
    policyVersionId: versionId,
    isDefaultVersion: isDefault,
    creationDate: createDate,
    lastModifiedDate: createDate,
  };
};

export const SetDefaultPolicyVersion: Operation = (account, input) => {
  const policy = policyOf(account, input);
  account.store.put('policy', policy.policyName, withDefault(policy, versionOf(policy, input).versionId));
  return {};
};

export const DeletePolicyVersion: Operation = (account, input) => {
  const policy = policyOf(account, input);
  const version = versionOf(policy, input);
  if (version.isDefault) refuse('DeleteConflictException', 'Cannot delete the default version of a policy');
  account.store.put('policy', policy.policyName, {
    ...policy,
    versions: policy.versions.filter((each) => each !== version),
  });
  return {};
};

/** Idempotent. @see https://docs.aws.amazon.com/iot/latest/apireference/API_AttachPolicy.html */
export const AttachPolicy: Operation = (account, input) => {
  const [target, { policyName }] = [targetOf(account, input), policyOf(account, input)];
  const attached = account.store
    .all('policyTarget')
    .filter((row) => row.target === target && row.policyName !== policyName);
  if (attached.length >= maxPoliciesPerPrincipal)
    refuse('LimitExceededException', `A principal has at most ${maxPoliciesPerPrincipal} policies`);
  account.store.put('policyTarget', `${policyName} ${target}`, { policyName, target });
  return {};
};

/**
 * The service model lists no ResourceNotFoundException here. A policy that does not exist is no error, and a target that does not is
 * an invalid one: this is what the Terraform provider has met and allows for.
 */
export const DetachPolicy: Operation = (account, input) => {
  const { kind, name } = resourceOf(account.place, input.target, ['cert', 'thinggroup']);
  if (account.store.get(kind === 'cert' ? 'certificate' : 'thingGroup', name) === undefined)
    refuse('InvalidRequestException', `Invalid Target: ${input.target}`);
  account.store.remove('policyTarget', `${input.policyName} ${input.target}`);
  return {};
};

export const ListAttachedPolicies: Operation = (account, input) => {
  const target = targetOf(account, input);
  const { items, next } = page(
    account.store.all('policyTarget').filter((row) => row.target === target),
    input,
  );
  return {
    policies: items.map(({ policyName }) => ({ policyName, policyArn: arnOf(account, `policy/${policyName}`) })),
    nextMarker: next,
  };
};

export const ListTargetsForPolicy: Operation = (account, input) => {
  const { policyName } = policyOf(account, input);
  const { items, next } = page(
    account.store.all('policyTarget').filter((row) => row.policyName === policyName),
    input,
  );
  return { targets: items.map((row) => row.target), nextMarker: next };
};

/** The policy documents of a certificate: its own and those of its things' groups. */
export function policyDocuments(account: Account, certificateArn: string): string[] {
  const { store } = account;
  const things = store
    .all('thingPrincipal')
    .filter((row) => row.principal === certificateArn)
    .map((row) => row.thingName);
  const groups = store
    .all('groupMember')
    .filter((row) => things.includes(row.thingName))
    .map((row) => arnOf(account, `thinggroup/${row.thingGroupName}`));
  const names = new Set(
    store
      .all('policyTarget')
      .filter((row) => row.target === certificateArn || groups.includes(row.target))
      .map((row) => row.policyName),
  );
  return [...names].flatMap((name) => store.get('policy', name) ?? []).map((policy) => defaultVersion(policy).document);
}

function policyOf({ store }: Account, input: Input): Policy {
  const { policyName } = input;
  return (
    store.get('policy', policyName) ?? refuse('ResourceNotFoundException', `Policy not found (name=${policyName})`)
  );
}

function defaultVersion(policy: Policy): PolicyVersion {
  return (
    policy.versions.find((version) => version.isDefault) ??
    refuse('ResourceNotFoundException', `Policy ${policy.policyName} has no default version`)
  );
}

/** @throws ResourceNotFoundException */
function versionOf({ versions }: Policy, { policyVersionId }: Input): PolicyVersion {
  return (
    versions.find((each) => each.versionId === policyVersionId) ??
    refuse('ResourceNotFoundException', `Policy version ${policyVersionId} not found`)
  );
}

const withDefault = (policy: Policy, versionId: string): Policy => ({
  ...policy,
  versions: policy.versions.map((each) => ({ ...each, isDefault: each.versionId === versionId })),
});

/** A certificate or a thing group, by ARN. Cognito identities, the third kind of target, are not here. @throws as `resourceOf`, and ResourceNotFoundException */
function targetOf(account: Account, { target }: Input): string {
  const { kind, name } = resourceOf(account.place, target, ['cert', 'thinggroup']);
  if (kind === 'cert') return certificateOf(account, name).certificateArn;
  if (account.store.get('thingGroup', name) === undefined)
    refuse('ResourceNotFoundException', `Thing group ${name} not found`);
  return target;
}

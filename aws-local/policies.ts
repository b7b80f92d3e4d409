import { type Account, certificateOf, type Input, named, type Operation, page, seconds, text } from './account.ts';
import { refuse } from './errors.ts';
import { checkPolicyDocument } from './policy-document.ts';
import type { Policy, PolicyVersion } from './store.ts';

const maxVersions = 5;
const maxPoliciesPerPrincipal = 10;

export const CreatePolicy: Operation = (account, input) => {
  const [policyName, document] = [named(input, 'policyName'), documentOf(input)];
  if (account.store.get('policy', policyName))
    refuse('ResourceAlreadyExistsException', `Policy cannot be created - name already exists (name=${policyName})`);
  account.store.put('policy', policyName, {
    policyName,
    lastVersion: 1,
    versions: [{ versionId: '1', document, isDefault: true, createDate: seconds() }],
  });
  return { policyName, policyArn: account.arn(`policy/${policyName}`), policyDocument: document, policyVersionId: '1' };
};

export const GetPolicy: Operation = (account, input) => {
  const policy = policyOf(account, input);
  const version = defaultVersion(policy);
  return {
    policyName: policy.policyName,
    policyArn: account.arn(`policy/${policy.policyName}`),
    policyDocument: version.document,
    defaultVersionId: version.versionId,
  };
};

export const ListPolicies: Operation = (account, input) => {
  const { items, next } = page(account.store.all('policy'), input, 'pageSize', 'marker');
  return {
    policies: items.map(({ policyName }) => ({ policyName, policyArn: account.arn(`policy/${policyName}`) })),
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
  const [policy, document] = [policyOf(account, input), documentOf(input)];
  if (policy.versions.length >= maxVersions)
    refuse(
      'VersionsLimitExceededException',
      `The policy ${policy.policyName} already has the maximum number of versions (${maxVersions})`,
    );
  const isDefault = input.setAsDefault === 'true';
  const version: PolicyVersion = {
    versionId: String(policy.lastVersion + 1),
    document,
    isDefault,
    createDate: seconds(),
  };
  const kept = policy.versions.map((each) => ({ ...each, isDefault: each.isDefault && !isDefault }));
  account.store.put('policy', policy.policyName, {
    ...policy,
    lastVersion: policy.lastVersion + 1,
    versions: [...kept, version],
  });
  return {
    policyArn: account.arn(`policy/${policy.policyName}`),
    policyDocument: document,
    policyVersionId: version.versionId,
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

export const DeletePolicyVersion: Operation = (account, input) => {
  const [policy, versionId] = [policyOf(account, input), named(input, 'policyVersionId')];
  const version =
    policy.versions.find((each) => each.versionId === versionId) ??
    refuse('ResourceNotFoundException', `Policy version ${versionId} not found`);
  if (version.isDefault) refuse('DeleteConflictException', 'Cannot delete the default version of a policy');
  account.store.put('policy', policy.policyName, {
    ...policy,
    versions: policy.versions.filter((each) => each !== version),
  });
  return {};
};

/** Idempotent. @see https://docs.aws.amazon.com/iot/latest/apireference/API_AttachPolicy.html */
export const AttachPolicy: Operation = (account, input) => {
  const [{ policyName }, target] = [policyOf(account, input), targetOf(account, input)];
  const attached = account.store
    .all('policyTarget')
    .filter((row) => row.target === target && row.policyName !== policyName);
  if (attached.length >= maxPoliciesPerPrincipal)
    refuse('LimitExceededException', `A principal has at most ${maxPoliciesPerPrincipal} policies`);
  account.store.put('policyTarget', `${policyName} ${target}`, { policyName, target });
  return {};
};

export const DetachPolicy: Operation = (account, input) => {
  account.store.remove('policyTarget', `${policyOf(account, input).policyName} ${targetOf(account, input)}`);
  return {};
};

export const ListAttachedPolicies: Operation = (account, input) => {
  const target = targetOf(account, input);
  const { items, next } = page(
    account.store.all('policyTarget').filter((row) => row.target === target),
    input,
    'pageSize',
    'marker',
  );
  return {
    policies: items.map(({ policyName }) => ({ policyName, policyArn: account.arn(`policy/${policyName}`) })),
    nextMarker: next,
  };
};

export const ListTargetsForPolicy: Operation = (account, input) => {
  const { policyName } = policyOf(account, input);
  const { items, next } = page(
    account.store.all('policyTarget').filter((row) => row.policyName === policyName),
    input,
    'pageSize',
    'marker',
  );
  return { targets: items.map((row) => row.target), nextMarker: next };
};

/** The policy documents of a certificate: its own and those of its things' groups. */
export function policyDocuments({ store, arn }: Account, certificateArn: string): string[] {
  const things = store
    .all('thingPrincipal')
    .filter((row) => row.principal === certificateArn)
    .map((row) => row.thingName);
  const groups = store
    .all('groupMember')
    .filter((row) => things.includes(row.thingName))
    .map((row) => arn(`thinggroup/${row.thingGroupName}`));
  const names = new Set(
    store
      .all('policyTarget')
      .filter((row) => row.target === certificateArn || groups.includes(row.target))
      .map((row) => row.policyName),
  );
  return [...names].flatMap((name) => store.get('policy', name) ?? []).map((policy) => defaultVersion(policy).document);
}

function policyOf({ store }: Account, input: Input): Policy {
  const policyName = named(input, 'policyName');
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

function documentOf(input: Input): string {
  const document = text(input, 'policyDocument') ?? refuse('MalformedPolicyException', 'There is no policy document');
  checkPolicyDocument(document);
  return document;
}

/** A certificate or a thing group, by ARN. */
function targetOf({ store }: Account, input: Input): string {
  const target = text(input, 'target') ?? refuse('InvalidRequestException', "Value at 'target' is missing");
  if (!target.includes(':thinggroup/')) return certificateOf(store, target).certificateArn;
  if (store.get('thingGroup', target.slice(target.lastIndexOf('/') + 1)) === undefined)
    refuse('ResourceNotFoundException', 'Thing group not found');
  return target;
}

import { type Account, certificateOf, type Input, named, newId, type Operation, page, text } from './account.ts';
import { refuse } from './errors.ts';
import type { Thing } from './store.ts';

const attributeName = /^[a-zA-Z0-9_.,@/:#-]{1,128}$/;
const attributeValue = /^[a-zA-Z0-9_.,@/:#=[\]-]{0,800}$/;

/** A repeated call succeeds only with the same configuration. @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html */
export const CreateThing: Operation = (account, input) => {
  const { store } = account;
  const wanted = configuration(input);
  if (wanted.thingTypeName !== undefined && store.get('thingType', wanted.thingTypeName) === undefined)
    refuse('ResourceNotFoundException', `Thing type ${wanted.thingTypeName} not found`);
  const found = store.get('thing', wanted.thingName);
  if (found !== undefined && !sameConfiguration(found, wanted))
    refuse(
      'ResourceAlreadyExistsException',
      `Thing ${wanted.thingName} already exists in account with different attributes`,
    );
  const thing = found ?? { ...wanted, thingId: newId(), version: 1 };
  if (found === undefined) store.put('thing', thing.thingName, thing);
  return { thingName: thing.thingName, thingArn: account.arn(`thing/${thing.thingName}`), thingId: thing.thingId };
};

export const DescribeThing: Operation = (account, input) => described(account, thingOf(account, input));

export const UpdateThing: Operation = (account, input) => {
  const thing = thingOf(account, input);
  const { thingTypeName, attributes } = configuration(input);
  const type = thingTypeName ?? thing.thingTypeName;
  account.store.put('thing', thing.thingName, {
    thingName: thing.thingName,
    thingId: thing.thingId,
    version: thing.version + 1,
    attributes: { ...thing.attributes, ...attributes },
    ...(type === undefined ? {} : { thingTypeName: type }),
  });
  return {};
};

/** A thing that does not exist is no error. */
export const DeleteThing: Operation = ({ store }, input) => {
  const thingName = named(input, 'thingName');
  if (store.all('thingPrincipal').some((row) => row.thingName === thingName))
    refuse('InvalidRequestException', 'Cannot delete. Thing is still attached to one or more principals');
  for (const member of store.all('groupMember'))
    if (member.thingName === thingName) store.remove('groupMember', `${member.thingGroupName} ${thingName}`);
  store.remove('thing', thingName);
  return {};
};

export const ListThings: Operation = (account, input) => {
  const { items, next } = page(account.store.all('thing'), input, 'maxResults', 'nextToken');
  return { things: items.map((thing) => described(account, thing)), nextToken: next };
};

export const CreateThingType: Operation = (account, input) =>
  createNamed(account, 'thingType', named(input, 'thingTypeName'), 'thingtype');
export const DescribeThingType: Operation = (account, input) =>
  describeNamed(account, 'thingType', named(input, 'thingTypeName'), 'thingtype');
export const CreateThingGroup: Operation = (account, input) =>
  createNamed(account, 'thingGroup', named(input, 'thingGroupName'), 'thinggroup');
export const DescribeThingGroup: Operation = (account, input) =>
  describeNamed(account, 'thingGroup', named(input, 'thingGroupName'), 'thinggroup');

export const AddThingToThingGroup: Operation = (account, input) => {
  const { thingName } = thingOf(account, input);
  const thingGroupName = named(input, 'thingGroupName');
  describeNamed(account, 'thingGroup', thingGroupName, 'thinggroup');
  account.store.put('groupMember', `${thingGroupName} ${thingName}`, { thingGroupName, thingName });
  return {};
};

export const RemoveThingFromThingGroup: Operation = ({ store }, input) => {
  store.remove('groupMember', `${named(input, 'thingGroupName')} ${named(input, 'thingName')}`);
  return {};
};

export const ListThingGroupsForThing: Operation = (account, input) => {
  const { thingName } = thingOf(account, input);
  const { items, next } = page(
    account.store.all('groupMember').filter((row) => row.thingName === thingName),
    input,
    'maxResults',
    'nextToken',
  );
  return {
    thingGroups: items.map(({ thingGroupName }) => ({
      groupName: thingGroupName,
      groupArn: account.arn(`thinggroup/${thingGroupName}`),
    })),
    nextToken: next,
  };
};

/** Idempotent. @see https://docs.aws.amazon.com/iot/latest/apireference/API_AttachThingPrincipal.html */
export const AttachThingPrincipal: Operation = (account, input) => {
  const { store } = account;
  const { thingName } = thingOf(account, input);
  const { certificateArn: principal } = certificateOf(store, input.principal ?? '');
  const exclusive = input.thingPrincipalType === 'EXCLUSIVE_THING';
  const others = store
    .all('thingPrincipal')
    .filter((row) => row.principal === principal && row.thingName !== thingName);
  if (others.some((row) => exclusive || row.exclusive))
    refuse(
      'InvalidRequestException',
      'The principal is attached to another thing, and one of the attachments is exclusive',
    );
  store.put('thingPrincipal', `${thingName} ${principal}`, { thingName, principal, exclusive });
  return {};
};

/** AWS does this asynchronously: the attachment is still seen for a moment. */
export const DetachThingPrincipal: Operation = (account, input) => {
  const { store } = account;
  const key = `${thingOf(account, input).thingName} ${certificateOf(store, input.principal ?? '').certificateArn}`;
  if (account.detachMs === 0) store.remove('thingPrincipal', key);
  else setTimeout(() => store.remove('thingPrincipal', key), account.detachMs);
  return {};
};

export const ListThingPrincipals: Operation = (account, input) => {
  const { thingName } = thingOf(account, input);
  const { items, next } = page(
    account.store.all('thingPrincipal').filter((row) => row.thingName === thingName),
    input,
    'maxResults',
    'nextToken',
  );
  return { principals: items.map((row) => row.principal), nextToken: next };
};

export const ListPrincipalThings: Operation = ({ store }, input) => {
  const { certificateArn } = certificateOf(store, input.principal ?? '');
  const { items, next } = page(
    store.all('thingPrincipal').filter((row) => row.principal === certificateArn),
    input,
    'maxResults',
    'nextToken',
  );
  return { things: items.map((row) => row.thingName), nextToken: next };
};

export function thingOf({ store }: Account, input: Input): Thing {
  const thingName = named(input, 'thingName');
  return store.get('thing', thingName) ?? refuse('ResourceNotFoundException', `Thing ${thingName} not found`);
}

function configuration(input: Input): Omit<Thing, 'thingId' | 'version'> {
  const payload = input.attributePayload as { attributes?: Record<string, string> } | undefined;
  const attributes = payload?.attributes ?? {};
  const bad = Object.entries(attributes).find(
    ([name, value]) => !attributeName.test(name) || typeof value !== 'string' || !attributeValue.test(value),
  );
  if (bad) refuse('InvalidRequestException', `Attribute ${JSON.stringify(bad[0])} is not valid`);
  const thingTypeName = text(input, 'thingTypeName') === undefined ? undefined : named(input, 'thingTypeName');
  if (thingTypeName === undefined && Object.keys(attributes).length > 3)
    refuse('InvalidRequestException', 'A thing without a type has at most 3 attributes');
  return {
    thingName: named(input, 'thingName'),
    attributes,
    ...(thingTypeName === undefined ? {} : { thingTypeName }),
  };
}

function sameConfiguration(a: Omit<Thing, 'thingId' | 'version'>, b: Omit<Thing, 'thingId' | 'version'>): boolean {
  const sorted = (attributes: Record<string, string>) => JSON.stringify(Object.entries(attributes).sort());
  return a.thingTypeName === b.thingTypeName && sorted(a.attributes) === sorted(b.attributes);
}

function described(account: Account, thing: Thing) {
  return { ...thing, thingArn: account.arn(`thing/${thing.thingName}`), defaultClientId: thing.thingName };
}

function createNamed({ store, arn }: Account, kind: 'thingType' | 'thingGroup', name: string, resource: string) {
  const row = store.get(kind, name) ?? { name, id: newId() };
  store.put(kind, name, row);
  return { [`${kind}Name`]: name, [`${kind}Arn`]: arn(`${resource}/${name}`), [`${kind}Id`]: row.id };
}

function describeNamed({ store, arn }: Account, kind: 'thingType' | 'thingGroup', name: string, resource: string) {
  const row =
    store.get(kind, name) ??
    refuse('ResourceNotFoundException', `${kind === 'thingType' ? 'Thing type' : 'Thing group'} ${name} not found`);
  return { [`${kind}Name`]: name, [`${kind}Arn`]: arn(`${resource}/${name}`), [`${kind}Id`]: row.id };
}

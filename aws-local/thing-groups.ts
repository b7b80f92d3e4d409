import { type Account, arnOf, type Input, newId, type Operation, page, seconds } from './account.ts';
import { resourceOf } from './arn.ts';
import { refuse } from './errors.ts';
import type { Named } from './store.ts';
import { thingOf } from './things.ts';

/** @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html "Maximum number of thing groups a thing can belong to" */
const maxGroupsPerThing = 10;

export const CreateThingType: Operation = (account, { thingTypeName = '', thingTypeProperties }) =>
  create(account, 'thingType', thingTypeName, thingTypeProperties);

export const DescribeThingType: Operation = (account, { thingTypeName = '' }) => {
  const type = namedOf(account, 'thingType', thingTypeName);
  const { createdAt, deprecatedAt, properties } = type;
  return {
    ...identified(account, 'thingType', type),
    thingTypeProperties: properties ?? {},
    thingTypeMetadata: {
      deprecated: deprecatedAt !== undefined,
      deprecationDate: deprecatedAt,
      creationDate: createdAt ?? 0,
    },
  };
};

/** Things that have the type keep it; no thing gets it any more. @see https://docs.aws.amazon.com/iot/latest/apireference/API_DeprecateThingType.html */
export const DeprecateThingType: Operation = (account, { thingTypeName = '', undoDeprecate = false }) => {
  const { deprecatedAt, ...type } = namedOf(account, 'thingType', thingTypeName);
  account.store.put(
    'thingType',
    type.name,
    undoDeprecate ? type : { ...type, deprecatedAt: deprecatedAt ?? seconds() },
  );
  return {};
};

/** Groups have no parents here. */
export const CreateThingGroup: Operation = (account, { thingGroupName, thingGroupProperties, parentGroupName }) => {
  if (parentGroupName !== undefined)
    refuse(
      'InvalidRequestException',
      `The parent group ${parentGroupName} does not exist: the stand-in has no hierarchy`,
    );
  return create(account, 'thingGroup', thingGroupName, thingGroupProperties);
};

export const DescribeThingGroup: Operation = (account, { thingGroupName }) => {
  const group = namedOf(account, 'thingGroup', thingGroupName);
  return {
    ...identified(account, 'thingGroup', group),
    version: 1,
    thingGroupProperties: group.properties ?? {},
    thingGroupMetadata: { creationDate: group.createdAt ?? 0 },
  };
};

export const AddThingToThingGroup: Operation = (account, input) => {
  const { store } = account;
  const [thingGroupName, thingName] = [groupNamed(account, input), thingNamed(account, input)];
  namedOf(account, 'thingGroup', thingGroupName);
  thingOf(account, thingName);
  const others = store
    .all('groupMember')
    .filter((row) => row.thingName === thingName && row.thingGroupName !== thingGroupName);
  if (others.length >= maxGroupsPerThing)
    refuse('InvalidRequestException', `A thing is in at most ${maxGroupsPerThing} groups`);
  store.put('groupMember', `${thingGroupName} ${thingName}`, { thingGroupName, thingName });
  return {};
};

export const RemoveThingFromThingGroup: Operation = (account, input) => {
  const [thingGroupName, thingName] = [groupNamed(account, input), thingNamed(account, input)];
  namedOf(account, 'thingGroup', thingGroupName);
  thingOf(account, thingName);
  account.store.remove('groupMember', `${thingGroupName} ${thingName}`);
  return {};
};

export const ListThingGroupsForThing: Operation = (account, input) => {
  const { thingName } = thingOf(account, input.thingName);
  const { items, next } = page(
    account.store.all('groupMember').filter((row) => row.thingName === thingName),
    input,
  );
  return {
    thingGroups: items.map(({ thingGroupName }) => ({
      groupName: thingGroupName,
      groupArn: arnOf(account, `thinggroup/${thingGroupName}`),
    })),
    nextToken: next,
  };
};

export const ListThingsInThingGroup: Operation = (account, input) => {
  const { name } = namedOf(account, 'thingGroup', input.thingGroupName);
  const { items, next } = page(
    account.store.all('groupMember').filter((row) => row.thingGroupName === name),
    input,
  );
  return { things: items.map((row) => row.thingName), nextToken: next };
};

type NamedKind = 'thingType' | 'thingGroup';
const words = { thingType: 'Thing type', thingGroup: 'Thing group' } as const;

/** @throws ResourceNotFoundException */
function namedOf({ store }: Account, kind: NamedKind, name: string): Named {
  return store.get(kind, name) ?? refuse('ResourceNotFoundException', `${words[kind]} ${name} not found`);
}

/** A repeated call succeeds only with the same properties. */
function create(account: Account, kind: NamedKind, name: string, properties: object = {}) {
  const found = account.store.get(kind, name);
  if (found !== undefined && JSON.stringify(found.properties ?? {}) !== JSON.stringify(properties))
    refuse('ResourceAlreadyExistsException', `${words[kind]} ${name} already exists with different properties`);
  const row = found ?? { name, id: newId(), createdAt: seconds(), properties };
  if (found === undefined) account.store.put(kind, name, row);
  return identified(account, kind, row);
}

function identified(account: Account, kind: NamedKind, { name, id }: Named) {
  const arn = arnOf(account, `${kind.toLowerCase()}/${name}`);
  return { [`${kind}Name`]: name, [`${kind}Arn`]: arn, [`${kind}Id`]: id };
}

/** Both operations on members take names or ARNs. */
function groupNamed({ place }: Account, { thingGroupName, thingGroupArn }: Partial<Input>): string {
  if (thingGroupArn !== undefined) return resourceOf(place, thingGroupArn, ['thinggroup']).name;
  return thingGroupName ?? refuse('InvalidRequestException', 'Either thingGroupName or thingGroupArn must be provided');
}

function thingNamed({ place }: Account, { thingName, thingArn }: Partial<Input>): string {
  if (thingArn !== undefined) return resourceOf(place, thingArn, ['thing']).name;
  return thingName ?? refuse('InvalidRequestException', 'Either thingName or thingArn must be provided');
}

import { type Account, arnOf, type Input, newId, type Operation, page } from './account.ts';
import { refuse } from './errors.ts';
import type { Thing } from './store.ts';

/** @see https://docs.aws.amazon.com/general/latest/gr/iot-core.html "AWS IoT Core thing resource limits and quotas" */
const limits = { attributesWithoutType: 3, attributesWithType: 50 };

type Configuration = Pick<Thing, 'thingName' | 'thingTypeName' | 'attributes'>;

/** A repeated call succeeds only with the same configuration. @see https://docs.aws.amazon.com/iot/latest/apireference/API_CreateThing.html */
export const CreateThing: Operation = (account, input) => {
  const { store } = account;
  const { thingName, attributePayload } = input;
  if (attributePayload?.merge === true)
    refuse('InvalidRequestException', 'merge is valid only when a thing or a thing group is updated');
  // there are none here
  if (input.billingGroupName !== undefined)
    refuse('ResourceNotFoundException', `Billing group ${input.billingGroupName} not found`);
  const wanted = configured(
    { thingName, attributes: withoutEmpty(attributePayload?.attributes) },
    typeOf(account, input),
  );
  const found = store.get('thing', thingName);
  if (found !== undefined && !sameConfiguration(found, wanted))
    refuse('ResourceAlreadyExistsException', `Thing ${thingName} already exists in account with different attributes`);
  const thing = found ?? { ...wanted, thingId: newId(), version: 1 };
  if (found === undefined) store.put('thing', thingName, thing);
  return { thingName, thingArn: arnOf(account, `thing/${thingName}`), thingId: thing.thingId };
};

export const DescribeThing: Operation = (account, { thingName }) => described(account, thingOf(account, thingName));

/** Attributes replace those that are there, unless `merge` is set: then an empty value removes one. @see https://docs.aws.amazon.com/iot/latest/apireference/API_AttributePayload.html */
export const UpdateThing: Operation = (account, input) => {
  const thing = thingOf(account, input.thingName);
  expectVersion(thing, input);
  const { attributes, merge = false } = input.attributePayload ?? {};
  if (input.removeThingType === true && input.thingTypeName !== undefined)
    refuse('InvalidRequestException', 'A thing type cannot be set and removed at once');
  const kept = attributes === undefined || merge ? thing.attributes : {};
  const next = configured(
    { thingName: thing.thingName, attributes: withoutEmpty({ ...kept, ...attributes }) },
    input.removeThingType === true ? undefined : (typeOf(account, input) ?? thing.thingTypeName),
  );
  account.store.put('thing', thing.thingName, { ...next, thingId: thing.thingId, version: thing.version + 1 });
  return {};
};

/** A thing that does not exist is no error. @see https://docs.aws.amazon.com/iot/latest/apireference/API_DeleteThing.html */
export const DeleteThing: Operation = ({ store }, input) => {
  const { thingName } = input;
  const thing = store.get('thing', thingName);
  if (thing === undefined) return {};
  expectVersion(thing, input);
  if (store.all('thingPrincipal').some((row) => row.thingName === thingName))
    refuse('InvalidRequestException', `Cannot delete. Thing ${thingName} is still attached to one or more principals`);
  for (const member of store.all('groupMember'))
    if (member.thingName === thingName) store.remove('groupMember', `${member.thingGroupName} ${thingName}`);
  store.remove('thing', thingName);
  return {};
};

export const ListThings: Operation = (account, input) => {
  const { attributeName, attributeValue = '', thingTypeName, usePrefixAttributeValue = false } = input;
  const fits = (value: string | undefined) =>
    usePrefixAttributeValue ? value?.startsWith(attributeValue) === true : value === attributeValue;
  const all = account.store
    .all('thing')
    .filter((thing) => thingTypeName === undefined || thing.thingTypeName === thingTypeName)
    .filter((thing) => attributeName === undefined || fits(thing.attributes[attributeName]));
  const { items, next } = page(all, input);
  return { things: items.map((thing) => listed(account, thing)), nextToken: next };
};

/** @throws ResourceNotFoundException */
export function thingOf({ store }: Account, thingName: string): Thing {
  return store.get('thing', thingName) ?? refuse('ResourceNotFoundException', `Thing ${thingName} not found`);
}

function expectVersion({ thingName, version }: Thing, { expectedVersion }: Input): void {
  if (expectedVersion !== undefined && expectedVersion !== version)
    refuse('VersionConflictException', `The version for thing ${thingName} does not match the expected version`);
}

/** The thing type that a call names, where it may be given to a thing. */
function typeOf({ store }: Account, { thingTypeName }: Input): string | undefined {
  if (thingTypeName === undefined) return undefined;
  const type =
    store.get('thingType', thingTypeName) ??
    refuse('ResourceNotFoundException', `Thing type ${thingTypeName} not found`);
  if (type.deprecatedAt !== undefined)
    refuse('InvalidRequestException', `Can not associate the deprecated thing type ${thingTypeName} with a thing`);
  return thingTypeName;
}

function configured(thing: Pick<Thing, 'thingName' | 'attributes'>, thingTypeName: string | undefined): Configuration {
  const most = thingTypeName === undefined ? limits.attributesWithoutType : limits.attributesWithType;
  if (Object.keys(thing.attributes).length > most)
    refuse(
      'InvalidRequestException',
      `A thing ${thingTypeName === undefined ? 'without' : 'with'} a type has at most ${most} attributes`,
    );
  return { ...thing, ...(thingTypeName === undefined ? {} : { thingTypeName }) };
}

function withoutEmpty(attributes: Readonly<Record<string, string>> = {}): Record<string, string> {
  return Object.fromEntries(Object.entries(attributes).filter(([, value]) => value !== ''));
}

function sameConfiguration(a: Configuration, b: Configuration): boolean {
  const sorted = (attributes: Record<string, string>) => JSON.stringify(Object.entries(attributes).sort());
  return a.thingTypeName === b.thingTypeName && sorted(a.attributes) === sorted(b.attributes);
}

function listed(account: Account, { thingName, thingTypeName, attributes, version }: Thing) {
  return { thingName, thingTypeName, attributes, version, thingArn: arnOf(account, `thing/${thingName}`) };
}

function described(account: Account, thing: Thing) {
  return { ...listed(account, thing), thingId: thing.thingId, defaultClientId: thing.thingName };
}

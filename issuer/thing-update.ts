import { isDeepStrictEqual } from 'node:util';
import type { ThingConfiguration } from './issuer.ts';

type Attributes = ThingConfiguration['attributes'];
export type ThingProperties = { readonly attributes: Attributes; readonly thingTypeName?: string | undefined };

/** The part of UpdateThing that changes something. */
export type ThingUpdate = {
  readonly thingTypeName?: string;
  readonly attributePayload?: { readonly attributes: Record<string, string>; readonly merge: boolean };
};

/**
 * What is to be changed of a thing so that it is as a template says; empty where it is so already, and the second time it is.
 * @returns undefined where the thing has something else and the template says FAIL
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html#override-settings
 */
export function thingUpdateFor(thing: ThingProperties, wanted: ThingConfiguration): ThingUpdate | undefined {
  const attributes = attributesToSet(thing.attributes, wanted);
  const type = typeToSet(thing.thingTypeName, wanted);
  if (attributes === 'conflict' || type === 'conflict') return undefined;
  return {
    ...(attributes === undefined ? {} : { attributePayload: attributes }),
    ...(type === undefined ? {} : { thingTypeName: type }),
  };
}

function attributesToSet(
  found: Attributes,
  { attributes: wanted, overrides }: ThingConfiguration,
): ThingUpdate['attributePayload'] | 'conflict' {
  if (Object.keys(wanted).length === 0) return undefined;
  const isThere = Object.entries(wanted).every(([name, value]) => found[name] === value);
  const isEmpty = Object.keys(found).length === 0;
  const set = (merge: boolean) => ({ attributes: { ...wanted }, merge });
  if (overrides.attributes === 'REPLACE')
    return isDeepStrictEqual({ ...found }, { ...wanted }) ? undefined : set(false);
  if (isThere) return undefined;
  if (isEmpty || overrides.attributes === 'MERGE') return set(true);
  return overrides.attributes === 'FAIL' ? 'conflict' : undefined;
}

function typeToSet(
  found: string | undefined,
  { thingTypeName: wanted, overrides }: ThingConfiguration,
): string | undefined {
  if (wanted === undefined || found === wanted) return undefined;
  if (found === undefined || overrides.thingTypeName === 'REPLACE') return wanted;
  return overrides.thingTypeName === 'FAIL' ? 'conflict' : undefined;
}

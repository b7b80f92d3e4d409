import { expect, it } from 'vitest';
import type { Override, ThingConfiguration } from '../../issuer/issuer.ts';
import { thingUpdateFor } from '../../issuer/thing-update.ts';

const wanted = (
  attributes: Override,
  thingTypeName: Override = 'DO_NOTHING',
  more: Partial<ThingConfiguration> = {},
) => ({
  thingName: 'T',
  certificateId: 'c',
  attributes: { model: 'new', place: 'N' },
  thingGroupNames: [],
  policyNames: [],
  overrides: { attributes, thingTypeName },
  ...more,
});
const [empty, same, other] = [{}, { model: 'new', place: 'N' }, { model: 'old', owner: 'me' }];
const set = (merge: boolean) => ({ attributePayload: { attributes: { model: 'new', place: 'N' }, merge } });

it.each<[Override, object, object | undefined]>([
  ['DO_NOTHING', empty, set(true)],
  ['DO_NOTHING', other, {}],
  ['MERGE', other, set(true)],
  ['REPLACE', other, set(false)],
  ['REPLACE', { ...same, owner: 'me' }, set(false)],
  ['FAIL', empty, set(true)],
  ['FAIL', other, undefined],
])('attributes with %s, where the thing has %j', (override, attributes, update) => {
  expect(thingUpdateFor({ attributes: attributes as Record<string, string> }, wanted(override))).toEqual(update);
});

it('nothing is changed where the thing is so already, nor where the template says nothing', () => {
  for (const override of ['DO_NOTHING', 'MERGE', 'REPLACE', 'FAIL'] as const) {
    expect(thingUpdateFor({ attributes: same }, wanted(override))).toEqual({});
    expect(thingUpdateFor({ attributes: other }, wanted(override, override, { attributes: {} }))).toEqual({});
  }
});

it.each<[Override, string | undefined, object | undefined]>([
  ['DO_NOTHING', undefined, { thingTypeName: 'pump' }],
  ['DO_NOTHING', 'fan', {}],
  ['REPLACE', 'fan', { thingTypeName: 'pump' }],
  ['FAIL', 'fan', undefined],
  ['FAIL', 'pump', {}],
])('the type with %s, where the thing has the type %s', (override, thingTypeName, update) => {
  const pump = wanted('MERGE', override, { thingTypeName: 'pump' });
  expect(thingUpdateFor({ attributes: same, thingTypeName }, pump)).toEqual(update);
});

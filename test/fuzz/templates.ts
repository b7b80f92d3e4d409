import { readTemplate } from '../../templates/template.ts';
import type { Random } from '../chaos/random.ts';
import { fleetTemplate } from '../support/fleet-device.ts';
import { mutate } from './corpus.ts';

const mappings = { Places: { north: { group: 'plant-north', url: 'https://north.example' } } };
const inMap = (key: string) => ({ 'Fn::FindInMap': ['Places', { Ref: 'Place' }, key] });

/** Every section and every function. */
const templates: readonly object[] = [
  fleetTemplate(),
  fleetTemplate(
    {
      ThingName: { 'Fn::Join': ['', ['pump-', { Ref: 'SerialNumber' }]] },
      AttributePayload: { model: { 'Fn::Select': [1, { 'Fn::Split': ['-', { Ref: 'Place' }] }] }, place: 'north' },
      ThingTypeName: 'pump',
      ThingGroups: [inMap('group')],
    },
    {
      Parameters: {
        SerialNumber: { Type: 'String' },
        Place: { Type: 'String', Default: 'north' },
        RegistrationToken: { Type: 'String' },
      },
      Mappings: mappings,
      DeviceConfiguration: {
        url: inMap('url'),
        name: { 'Fn::Sub': ['${Unit}/${!Place}', { Unit: { Ref: 'SerialNumber' } }] },
      },
    },
    { policy: { Type: 'AWS::IoT::Policy', Properties: { PolicyName: 'pumps' } } },
  ),
];

/** Functions in functions: each twice what the one in it is. */
const nested = (depth: number): unknown =>
  depth === 0 ? { Ref: 'SerialNumber' } : { 'Fn::Sub': ['${a}${a}', { a: nested(depth - 1) }] };
const strange: readonly unknown[] = [
  ...[null, true, 0, -1, 1e308, '', '${', '${}', '${SerialNumber}', '\ud800', [], {}, [[]], [null]],
  ...['constructor', 'toString', '__proto__', 'valueOf'].map((name) => JSON.parse(`{"${name}": ["a", []]}`) as unknown),
  ...[{ Ref: 'RegistrationToken' }, { Ref: 'constructor' }, { Ref: {} }, { 'Fn::Select': ['0x1', ['a']] }],
  ...[{ 'Fn::Split': [',', { Ref: 'SerialNumber' }] }, { 'Fn::FindInMap': ['__proto__', 'toString', 'a'] }],
  ...[{ 'Fn::Join': ['', { 'Fn::Split': ['a', 'banana'] }] }, nested(3), nested(40)],
];

const values: readonly Readonly<Record<string, string>>[] = [
  { SerialNumber: 'FUZZ-1' },
  { SerialNumber: 'FUZZ-1', Place: 'north' },
  { SerialNumber: 'x'.repeat(4000), Place: '__proto__' },
  { SerialNumber: '', Place: 'a-b-c', constructor: 'x' },
  {},
];

/** More than this comes of no payload that a device can send. */
const mostCharacters = 1_000_000;

/** One template, spoilt as text or as JSON. `accident`: what must not be; `isTemplate`: it has no fault */
export function spoiltTemplate(random: Random): { readonly accident?: string; readonly isTemplate: boolean } {
  const choose = <T>(from: readonly T[]): T => from[Math.floor(random.next() * from.length)] as T;
  const original = choose(templates);
  const body =
    random.next() < 0.5
      ? mutate(Buffer.from(JSON.stringify(original)), random).toString()
      : JSON.stringify(changed(original, random, choose));
  try {
    const read = readTemplate('pump', body);
    if ('faults' in read) {
      const strangeFault = read.faults.find((fault) => typeof fault !== 'string' || fault.includes('[native code]'));
      return strangeFault === undefined
        ? { isTemplate: false }
        : { accident: `the fault ${strangeFault}`, isTemplate: false };
    }
    for (const each of values) {
      const said = read.template.register(each, 'ab'.repeat(32));
      const { length } = JSON.stringify(said);
      if (length > mostCharacters) return { accident: `${length} characters come of ${body}`, isTemplate: true };
      if ('registration' in said && typeof said.registration.thingName !== 'string')
        return { accident: `the thing has no name by ${body}`, isTemplate: true };
    }
    return { isTemplate: true };
  } catch (error) {
    return { accident: `${error instanceof Error ? error.stack : error} by ${body.slice(0, 2000)}`, isTemplate: false };
  }
}

/** A copy with a value at one place, or some, that does not belong there; or with the value of another place. */
function changed(value: unknown, random: Random, choose: <T>(from: readonly T[]) => T): unknown {
  if (random.next() < 0.06) return choose(strange);
  if (Array.isArray(value)) {
    const items = value.map((each) => changed(each, random, choose));
    return random.next() < 0.05 ? [...items, choose(strange)] : items;
  }
  if (typeof value !== 'object' || value === null) return value;
  const entries = Object.entries(value).map(([key, each]) => [key, changed(each, random, choose)] as const);
  const more =
    random.next() < 0.05 ? [[choose(['__proto__', 'constructor', 'Ref', 'X']), choose(strange)] as const] : [];
  return Object.fromEntries([...entries, ...more]);
}

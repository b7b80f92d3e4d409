/**
 * The expressions of AWS's provisioning templates: a text, `Ref`, or one of the intrinsic functions. An expression is read once, with
 * all its faults, and evaluated for each device.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/provision-template.html#intrinsic-functions
 */

/** Values of the parameters, by name. */
export type Values = Readonly<Record<string, string>>;

/** `Mappings`: map → first key → second key → text. */
export type Mappings = Readonly<Record<string, Readonly<Record<string, Readonly<Record<string, string>>>>>>;

/** A part of a template that gives a value once the parameters are known. */
export type Expression<T = string> = {
  /** @throws Unresolved where this device's parameters give none */
  readonly valueFor: (values: Values) => T;
  /** whether the device has a free choice: a parameter is in it. `Fn::FindInMap` ends that, since it gives only what the template lists */
  readonly isFree: boolean;
};

/** Why a template gives no value for these parameters. Quotes no value: the device sent it. */
export class Unresolved extends Error {}

/** What reading needs: what may be named, and where faults go. */
export type Reading = {
  readonly parameters: ReadonlySet<string>;
  readonly mappings: Mappings;
  /** @param path of the place in the template, `Resources.thing.Properties.ThingName` */
  fault(path: string, reason: string): void;
};

export const certificateIdParameter = 'AWS::IoT::Certificate::Id';

/** The parameter by which a device may send its registration token. No template sees it. */
export const registrationTokenParameter = 'RegistrationToken';

/** Stands where a fault was reported: the template is not used. */
const faulty = { valueFor: () => '', isFree: false } as const;
const faultyList: Expression<readonly string[]> = { valueFor: () => [], isFree: false };

const constant = <T>(value: T): Expression<T> => ({ valueFor: () => value, isFree: false });

/** Reads an expression that gives a text. */
export function readText(value: unknown, path: string, reading: Reading): Expression {
  if (typeof value === 'string') return constant(value);
  const call = callOf(value);
  const read = call && own(textFunctions, call.name);
  if (call && read) return read(call.argument, `${path}.${call.name}`, reading);
  reading.fault(path, call?.name === 'Fn::Split' ? splitIsAList : notAText(call?.name));
  return faulty;
}

/** Reads an expression that gives a list of texts. */
export function readList(value: unknown, path: string, reading: Reading): Expression<readonly string[]> {
  if (Array.isArray(value)) return all(value.map((each, at) => readText(each, `${path}[${at}]`, reading)));
  const call = callOf(value);
  if (call?.name === 'Fn::Split') return split(call.argument, `${path}.${call.name}`, reading);
  reading.fault(path, 'is no list: write [ … ], or {"Fn::Split": ["delimiter", text]}');
  return faultyList;
}

const splitIsAList = 'gives a list, and a text is needed here: choose from it with {"Fn::Select": [index, …]}';

function notAText(name: string | undefined): string {
  const known = Object.keys(textFunctions).join(', ');
  return name === undefined
    ? `is neither a text nor a function, an object with one key (${known})`
    : `"${name.slice(0, 64)}" is no function of provisioning templates: there are ${known} and Fn::Split`;
}

/** An object with one key is a function. */
function callOf(value: unknown): { name: string; argument: unknown } | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const [entry, ...more] = Object.entries(value);
  return entry === undefined || more.length > 0 ? undefined : { name: entry[0], argument: entry[1] };
}

const all = (parts: readonly Expression[]): Expression<readonly string[]> => ({
  valueFor: (values) => parts.map((part) => part.valueFor(values)),
  isFree: parts.some(({ isFree }) => isFree),
});

type ReadText = typeof readText;

const textFunctions: Readonly<Record<string, ReadText>> = {
  Ref: reference,
  'Fn::Join': join,
  'Fn::Select': select,
  'Fn::FindInMap': findInMap,
  'Fn::Sub': substitute,
};

function reference(name: unknown, path: string, reading: Reading): Expression {
  if (typeof name !== 'string') return fail(path, 'names no parameter: write {"Ref": "SerialNumber"}', reading);
  if (name === registrationTokenParameter) return fail(path, secret, reading);
  if (name !== certificateIdParameter && !reading.parameters.has(name))
    return fail(path, `there is no parameter "${name}": declare it in Parameters`, reading);
  return parameter(name);
}

const secret = `${registrationTokenParameter} is the secret of the device: it proves the device, and goes nowhere else`;

/** The id of the certificate is the gateway's word, not the device's. */
const parameter = (name: string): Expression => ({
  valueFor(values) {
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined) throw new Unresolved(`the parameter "${name}" is missing`);
    return value;
  },
  isFree: name !== certificateIdParameter,
});

function join(argument: unknown, path: string, reading: Reading): Expression {
  const [delimiter, list] = listOf(argument, 2) ?? [];
  if (typeof delimiter !== 'string')
    return fail(path, 'needs a delimiter and a list: {"Fn::Join": ["-", [ … ]]}', reading);
  const parts = readList(list, `${path}[1]`, reading);
  return { valueFor: (values) => joined(parts.valueFor(values), delimiter), isFree: parts.isFree };
}

function select(argument: unknown, path: string, reading: Reading): Expression {
  const [index, list] = listOf(argument, 2) ?? [];
  if ((typeof index !== 'string' && typeof index !== 'number') || !/^\d{1,4}$/.test(String(index)))
    return fail(path, 'needs an index from 0 and a list: {"Fn::Select": [0, [ … ]]}', reading);
  const at = Number(index);
  if (Array.isArray(list) && at >= list.length)
    return fail(`${path}[0]`, `is ${at}, and the list ends at ${list.length - 1}`, reading);
  const parts = readList(list, `${path}[1]`, reading);
  return {
    valueFor(values) {
      const chosen = parts.valueFor(values)[at];
      if (chosen === undefined) throw new Unresolved(`a list that a parameter makes has no part number ${at}`);
      return chosen;
    },
    isFree: parts.isFree,
  };
}

function split(argument: unknown, path: string, reading: Reading): Expression<readonly string[]> {
  const [delimiter, text] = listOf(argument, 2) ?? [];
  if (typeof delimiter !== 'string' || delimiter === '') {
    reading.fault(path, 'needs a delimiter, which is not empty, and a text: {"Fn::Split": [",", text]}');
    return faultyList;
  }
  const whole = readText(text, `${path}[1]`, reading);
  return { valueFor: (values) => whole.valueFor(values).split(delimiter), isFree: whole.isFree };
}

function findInMap(argument: unknown, path: string, reading: Reading): Expression {
  const keys = listOf(argument, 3);
  const [name] = keys ?? [];
  if (keys === undefined || typeof name !== 'string')
    return fail(path, 'needs the name of a map and two keys: {"Fn::FindInMap": ["Map", key, "key"]}', reading);
  const map = own(reading.mappings, name);
  if (map === undefined) return fail(`${path}[0]`, `there is no map "${name}" in Mappings`, reading);
  const [first, second] = [readText(keys[1], `${path}[1]`, reading), readText(keys[2], `${path}[2]`, reading)];
  // keys that no parameter is in are looked up at once
  if (!first.isFree && !second.isFree && typeof keys[1] === 'string' && typeof keys[2] === 'string')
    if (own(own(map, keys[1]), keys[2]) === undefined)
      return fail(path, `the map "${name}" has no "${keys[1]}" with "${keys[2]}"`, reading);
  return {
    valueFor(values) {
      const found = own(own(map, first.valueFor(values)), second.valueFor(values));
      if (found === undefined) throw new Unresolved(`the map "${name}" of the template has nothing for a parameter`);
      return found;
    },
    isFree: false,
  };
}

/** `${Name}` is a parameter, or a name of the second argument; `${!Name}` is the text `${Name}`. */
function substitute(argument: unknown, path: string, reading: Reading): Expression {
  const [text, named = {}] = typeof argument === 'string' ? [argument] : (listOf(argument, 2) ?? []);
  if (typeof text !== 'string' || typeof named !== 'object' || named === null || Array.isArray(named))
    return fail(path, 'needs a text, or a text and an object: {"Fn::Sub": "unit-${SerialNumber}"}', reading);
  const variables = new Map(
    Object.entries(named).map(([name, value]) => [name, readText(value, `${path}[1].${name}`, reading)]),
  );
  const pieces = text.split(/(\$\{[^}]*\})/).map((piece): Expression => {
    const name = /^\$\{(.*)\}$/s.exec(piece)?.[1]?.trim();
    if (name === undefined) return constant(piece);
    if (name.startsWith('!')) return constant(`\${${name.slice(1)}}`);
    return variables.get(name) ?? reference(name, path, reading);
  });
  return {
    valueFor(values) {
      // each once, however often it is named: functions in functions would take twice the time at each depth
      const found = new Map<Expression, string>();
      for (const piece of new Set(pieces)) found.set(piece, piece.valueFor(values));
      return joined(
        pieces.map((piece) => found.get(piece) ?? ''),
        '',
      );
    },
    isFree: pieces.some(({ isFree }) => isFree),
  };
}

/** Of one text that a template makes: as long as all that a device can send. */
const maxTextLength = 8192;

/** @throws Unresolved when it is too long: what a template repeats may grow beyond the memory */
function joined(parts: readonly string[], delimiter: string): string {
  const length = parts.reduce((sum, part) => sum + part.length + delimiter.length, 0);
  if (length > maxTextLength + delimiter.length)
    throw new Unresolved(`a text of the template has more than ${maxTextLength} characters with these parameters`);
  return parts.join(delimiter);
}

function fail(path: string, reason: string, reading: Reading): Expression {
  reading.fault(path, reason);
  return faulty;
}

const listOf = (value: unknown, length: number): readonly unknown[] | undefined =>
  Array.isArray(value) && value.length === length ? value : undefined;

const own = <T>(map: Readonly<Record<string, T>> | undefined, key: string): T | undefined =>
  map !== undefined && Object.hasOwn(map, key) ? map[key] : undefined;

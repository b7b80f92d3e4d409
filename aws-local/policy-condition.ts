import type { Thing } from './store.ts';

/** What policies know of a connected client. */
export type Connection = {
  readonly clientId: string;
  /** the thing that the connection stands for */
  readonly thing: Thing | undefined;
  /** what CONNECT asks for */
  readonly connectAttributes: readonly ('PersistentConnect' | 'LastWill')[];
};

/**
 * The policy variables and condition keys of a connection.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/thing-policy-variables.html
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html#connect-attribute
 */
const variables: Readonly<Record<string, (connection: Connection) => readonly (string | undefined)[]>> = {
  'iot:ClientId': ({ clientId }) => [clientId],
  'iot:ConnectAttributes': ({ connectAttributes }) => connectAttributes,
  'iot:Connection.Thing.IsAttached': ({ thing }) => [String(thing !== undefined)],
  'iot:Connection.Thing.ThingName': ({ thing }) => [thing?.thingName],
  'iot:Connection.Thing.ThingTypeName': ({ thing }) => [thing?.thingTypeName],
};

const attribute = /^iot:Connection\.Thing\.Attributes\[(.+)\]$/;

/** The values of a variable or condition key; none where it has none. */
export function valuesOf(name: string, connection: Connection): readonly string[] {
  const ofAttribute = attribute.exec(name)?.[1];
  const values =
    ofAttribute === undefined ? variables[name]?.(connection) : [connection.thing?.attributes[ofAttribute]];
  return (values ?? []).filter((value) => value !== undefined);
}

type Compare = (actual: string, expected: string) => boolean;

const like: Compare = (actual, expected) => {
  const source = expected
    .replace(/[.+^${}()|[\]\\]/g, '\\$&')
    .replaceAll('*', '.*')
    .replaceAll('?', '.');
  return new RegExp(`^${source}$`, 's').test(actual);
};

/** Those that end with "Not…" hold where none of the expected values fits. */
const operators: Readonly<Record<string, { readonly compare: Compare; readonly not?: true }>> = {
  Bool: { compare: (actual, expected) => actual === expected.toLowerCase() },
  StringEquals: { compare: (actual, expected) => actual === expected },
  StringNotEquals: { compare: (actual, expected) => actual === expected, not: true },
  StringLike: { compare: like },
  StringNotLike: { compare: like, not: true },
};

const parse = (operator: string) => /^(?:(ForAllValues|ForAnyValue):)?(\w+)$/.exec(operator)?.slice(1) ?? [];

export function knownCondition(operator: string, key: string): boolean {
  const known = Object.hasOwn(variables, key) || attribute.test(key);
  return known && Object.hasOwn(operators, parse(operator)[1] ?? '');
}

/** @see https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_condition-single-vs-multi-valued-context-keys.html */
export function holds(operator: string, key: string, expected: readonly string[], connection: Connection): boolean {
  const [quantifier, name = ''] = parse(operator);
  const rule = operators[name];
  if (rule === undefined) return false;
  const { compare, not = false } = rule;
  const actual = valuesOf(key, connection);
  const fits = (value: string) => expected.some((each) => compare(value, each)) !== not;
  if (quantifier === 'ForAllValues') return actual.every(fits);
  return actual.length === 0 ? not && quantifier === undefined : actual.some(fits);
}

import type { Condition } from '../rows.ts';
import type { Attribute, Attributes } from './attributes.ts';
import type { Clause, Placeholders } from './table.ts';

/**
 * A condition about the properties of a row, as an expression about its attributes. AND binds tighter than OR, and
 * DynamoDB refuses parentheses that change nothing, so only alternatives have them.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
 */
export function conditionOf<Row extends object>(attributes: Attributes<Row>, condition: Condition<Row>): Clause {
  return (placeholders) => {
    const { name, value } = placeholders;
    const named = (property: keyof Row) => name(attributes[property][0]);
    switch (condition.kind) {
      case 'all':
        return condition.conditions.map((each) => conditionOf(attributes, each)(placeholders)).join(' AND ');
      case 'any':
        return anyOf(...condition.conditions.map((each) => conditionOf(attributes, each)(placeholders)));
      case 'is':
        return Object.entries(condition.values)
          .map(([property, wanted]) => is(attributes, property as keyof Row, wanted, placeholders))
          .join(' AND ');
      case 'is-not':
        return isNot(attributes, condition.property, condition.value, placeholders);
      case 'at-most':
        return `${named(condition.property)} <= ${value({ N: String(condition.limit) })}`;
      case 'above':
        return `${named(condition.property)} > ${value({ N: String(condition.limit) })}`;
      case 'includes':
        return `contains(${named(condition.property)}, ${value({ S: condition.member })})`;
      case 'excludes':
        return `NOT contains(${named(condition.property)}, ${value({ S: condition.member })})`;
      case 'fewer-than': {
        const map = named(condition.property);
        return anyOf(isMissing(map), `size(${map}) < ${value({ N: String(condition.entries) })}`);
      }
    }
  };
}

const isMissing = (name: string) => `attribute_not_exists(${name})`;

const anyOf = (...alternatives: readonly string[]) =>
  alternatives.length === 1 ? alternatives.join() : `(${alternatives.join(' OR ')})`;

/** Compares what a reader of the row sees: the earlier name counts only where the present one is missing. */
function is<Row extends object>(
  attributes: Attributes<Row>,
  property: keyof Row,
  wanted: unknown,
  placeholders: Placeholders,
): string {
  const [attribute, , { earlierName, missing } = {}] = attributes[property];
  const now = placeholders.name(attribute);
  const earlier = earlierName === undefined ? undefined : placeholders.name(earlierName);
  const neither = earlier === undefined ? isMissing(now) : `${isMissing(now)} AND ${isMissing(earlier)}`;
  const operand = wanted ?? missing;
  if (operand === undefined) return neither;
  const equal = equalTo(attributes[property] as unknown as Attribute<unknown>, operand, placeholders);
  const alternatives = equal(now);
  if (earlier !== undefined) alternatives.push(...equal(earlier).map((each) => `${isMissing(now)} AND ${each}`));
  if (operand === missing) alternatives.push(neither);
  return anyOf(...alternatives);
}

function isNot<Row extends object>(
  attributes: Attributes<Row>,
  property: keyof Row,
  unwanted: unknown,
  { name, value }: Placeholders,
): string {
  const [attribute, codec, { earlierName, longerSpelling } = {}] = attributes[
    property
  ] as unknown as Attribute<unknown>;
  const operand = value(codec.write(unwanted));
  const part = longerSpelling && value({ S: longerSpelling(unwanted) });
  const names = earlierName === undefined ? [name(attribute)] : [name(attribute), name(earlierName)];
  return names
    .flatMap((each) => [
      anyOf(isMissing(each), `${each} <> ${operand}`),
      ...(part === undefined ? [] : [`NOT contains(${each}, ${part})`]),
    ])
    .join(' AND ');
}

/** The conditions under which an attribute has this value, of which one holds. */
function equalTo([, codec, { longerSpelling } = {}]: Attribute<unknown>, operand: unknown, { value }: Placeholders) {
  const written = value(codec.write(operand));
  const part = longerSpelling && operand !== '' ? value({ S: longerSpelling(operand) }) : undefined;
  return (name: string): string[] =>
    part === undefined ? [`${name} = ${written}`] : [`${name} = ${written}`, `contains(${name}, ${part})`];
}

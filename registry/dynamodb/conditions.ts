import type { Condition } from '../rows.ts';
import type { Attributes } from './attributes.ts';
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

/** Compares what a reader of the row sees: the earlier spelling counts only where the present one is missing. */
function is<Row extends object>(
  attributes: Attributes<Row>,
  property: keyof Row,
  wanted: unknown,
  { name, value }: Placeholders,
): string {
  const [attribute, codec, { earlierName, missing } = {}] = attributes[property];
  const now = name(attribute);
  const earlier = earlierName === undefined ? undefined : name(earlierName);
  const neither = earlier === undefined ? isMissing(now) : `${isMissing(now)} AND ${isMissing(earlier)}`;
  const operand = wanted ?? missing;
  if (operand === undefined) return neither;
  const placeholder = value(codec.write(operand as NonNullable<Row[keyof Row]>));
  const alternatives = [`${now} = ${placeholder}`];
  if (earlier !== undefined) alternatives.push(`${isMissing(now)} AND ${earlier} = ${placeholder}`);
  if (operand === missing) alternatives.push(neither);
  return anyOf(...alternatives);
}

function isNot<Row extends object>(
  attributes: Attributes<Row>,
  property: keyof Row,
  unwanted: unknown,
  { name, value }: Placeholders,
): string {
  const [attribute, codec, { earlierName } = {}] = attributes[property];
  const operand = value(codec.write(unwanted as NonNullable<Row[keyof Row]>));
  const names = earlierName === undefined ? [name(attribute)] : [name(attribute), name(earlierName)];
  return names.map((each) => anyOf(isMissing(each), `${each} <> ${operand}`)).join(' AND ');
}

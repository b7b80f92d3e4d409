import type { Update } from '../rows.ts';
import type { Attribute, Attributes, Codec } from './attributes.ts';
import type { Clause, Placeholders } from './table.ts';

/**
 * What a write does to the properties of a row, as an expression about its attributes.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
 */
export function updateOf<Row extends object>(attributes: Attributes<Row>, update: Update<Row>): Clause {
  return (placeholders) => {
    const actions = Object.entries(update).flatMap(([kind, part]) =>
      Object.entries(part).flatMap(([property, given]) => {
        const attribute = attributes[property as keyof Row] as unknown as Attribute<unknown>;
        return actionsOf[kind as keyof Update<Row>](attribute, given as never, placeholders);
      }),
    );
    return verbs
      .map((verb) => [
        verb,
        actions
          .filter((action) => action[0] === verb)
          .map(([, what]) => what)
          .join(', '),
      ])
      .filter(([, what]) => what !== '')
      .map((clause) => clause.join(' '))
      .join(' ');
  };
}

const verbs = ['SET', 'REMOVE', 'ADD', 'DELETE'] as const;
type Action = readonly [verb: (typeof verbs)[number], what: string];

type ActionsOf<Given> = (attribute: Attribute<unknown>, given: Given, placeholders: Placeholders) => Action[];

const set: ActionsOf<unknown> = ([attribute, codec, { earlierName } = {}], given, { name, value }) => {
  const action: Action =
    given === undefined ? ['REMOVE', name(attribute)] : ['SET', `${name(attribute)} = ${value(codec.write(given))}`];
  return earlierName === undefined ? [action] : [action, ['REMOVE', name(earlierName)]];
};

const setIfMissing: ActionsOf<unknown> = ([attribute, codec], given, { name, value }) => [
  ['SET', `${name(attribute)} = if_not_exists(${name(attribute)}, ${value(codec.write(given))})`],
];

const increase: ActionsOf<number> = ([attribute], by, { name, value }) => [
  ['ADD', `${name(attribute)} ${value({ N: String(by) })}`],
];

const setEntries: ActionsOf<Record<string, unknown>> = ([attribute, codec], entries, { name, value }) => {
  const { entry } = codec as unknown as { entry: Codec<unknown> };
  return Object.entries(entries).map(([key, given]): Action => {
    const path = `${name(attribute)}.${name(key)}`;
    return given === undefined ? ['REMOVE', path] : ['SET', `${path} = ${value(entry.write(given))}`];
  });
};

/** DynamoDB knows no empty set. */
const members =
  (verb: 'ADD' | 'DELETE'): ActionsOf<readonly string[]> =>
  ([attribute], given, { name, value }) =>
    given.length === 0 ? [] : [[verb, `${name(attribute)} ${value({ SS: [...given] })}`]];

const actionsOf: { readonly [Kind in keyof Update<object>]-?: ActionsOf<never> } = {
  set,
  setIfMissing,
  increase,
  setEntries,
  include: members('ADD'),
  exclude: members('DELETE'),
};

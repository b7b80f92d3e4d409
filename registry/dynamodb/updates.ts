import type { Update } from '../rows.ts';
import type { Attribute, Attributes, Codec } from './attributes.ts';
import type { Clause, Placeholders } from './table.ts';

/**
 * What a write does to the properties of a row, as an expression about its attributes.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
 */
export function updateOf<Row extends object>(attributes: Attributes<Row>, update: Update<Row>): Clause {
  return (placeholders) => {
    const actions: Actions = { SET: [], REMOVE: [], ADD: [], DELETE: [] };
    for (const [kind, properties] of Object.entries(update))
      for (const [property, given] of Object.entries(properties)) {
        const attribute = attributes[property as keyof Row] as unknown as Attribute<unknown>;
        writers[kind as keyof Update<Row>](attribute, given as never, placeholders, actions);
      }
    const clauses = Object.entries(actions).filter(([, what]) => what.length > 0);
    return clauses.map(([verb, what]) => `${verb} ${what.join(', ')}`).join(' ');
  };
}

/** The clauses of an update expression. */
type Actions = Readonly<Record<'SET' | 'REMOVE' | 'ADD' | 'DELETE', string[]>>;

type Writer<Given> = (
  attribute: Attribute<unknown>,
  given: Given,
  placeholders: Placeholders,
  actions: Actions,
) => void;

const set: Writer<unknown> = ([attribute, codec, more], given, { name, value }, { SET, REMOVE }) => {
  if (given === undefined) REMOVE.push(name(attribute));
  else SET.push(`${name(attribute)} = ${value(codec.write(given))}`);
  if (more?.earlierName !== undefined) REMOVE.push(name(more.earlierName));
};

const setIfMissing: Writer<unknown> = ([attribute, codec], given, { name, value }, { SET }) => {
  SET.push(`${name(attribute)} = if_not_exists(${name(attribute)}, ${value(codec.write(given))})`);
};

const increase: Writer<number> = ([attribute], by, { name, value }, { ADD }) => {
  ADD.push(`${name(attribute)} ${value({ N: String(by) })}`);
};

const setEntries: Writer<Record<string, unknown>> = ([attribute, codec], entries, used, { SET, REMOVE }) => {
  const { entry } = codec as unknown as { entry: Codec<unknown> };
  for (const [key, given] of Object.entries(entries)) {
    const path = `${used.name(attribute)}.${used.key(key)}`;
    if (given === undefined) REMOVE.push(path);
    else SET.push(`${path} = ${used.value(entry.write(given))}`);
  }
};

/** DynamoDB knows no empty set. */
const members =
  (verb: 'ADD' | 'DELETE'): Writer<readonly string[]> =>
  ([attribute], given, { name, value }, actions) => {
    if (given.length > 0) actions[verb].push(`${name(attribute)} ${value({ SS: [...given] })}`);
  };

const writers: { readonly [Kind in keyof Update<object>]-?: Writer<never> } = {
  set,
  setIfMissing,
  increase,
  setEntries,
  include: members('ADD'),
  exclude: members('DELETE'),
};

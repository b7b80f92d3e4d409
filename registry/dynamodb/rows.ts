import type { Condition, Rows, Update, UpsertBoth, Write } from '../rows.ts';
import { type Attributes, itemOf } from './attributes.ts';
import { conditionOf } from './conditions.ts';
import { keyAttribute } from './named-attributes.ts';
import type { Clause, DynamoTable, Item } from './table.ts';
import { updateOf } from './updates.ts';

/** The rows of one kind in a table. @param rowOf undefined for a row of another kind */
export function dynamoRows<Row extends object>(
  table: DynamoTable,
  attributes: Attributes<Row>,
  rowOf: (item: Item) => Row | undefined,
): Rows<Row> {
  const changing = (update: Update<Row>) => updateOf(attributes, update);
  const holding = (condition: Condition<Row>) => conditionOf(attributes, condition);
  const existing = (condition: Condition<Row> | undefined): Clause =>
    condition === undefined ? exists : (used) => `${exists(used)} AND ${holding(condition)(used)}`;
  const rowIn = (item: Item | undefined) => item && rowOf(item);
  return {
    find: async (key) => rowIn(await table.get(key)),
    glance: async (key) => rowIn(await table.glance(key)),
    async *list() {
      for await (const item of table.scan()) {
        const row = rowOf(item);
        if (row !== undefined) yield row;
      }
    },
    put: (key, row, condition) => table.put(key, itemOf(attributes, row), holding(condition)),
    update: (key, update, condition) => table.update(key, changing(update), existing(condition)),
    updateAndGet: async (key, update, condition) =>
      rowIn(await table.updateAndGet(key, changing(update), existing(condition))),
    upsert: async (key, update, condition) =>
      rowIn(await table.updateAndGet(key, changing(update), condition && holding(condition))),
    remove: (key, condition) => table.delete(key, existing(condition)),
  };
}

/** Rows of two kinds in one table. */
export function dynamoUpsertBoth<A extends object, B extends object>(
  table: DynamoTable,
  first: Attributes<A>,
  second: Attributes<B>,
): UpsertBoth<A, B> {
  const written = <Row extends object>(attributes: Attributes<Row>, { key, update, condition }: Write<Row>) => ({
    key,
    update: updateOf(attributes, update),
    condition: conditionOf(attributes, condition),
  });
  return async (one, other) => {
    const [held, alsoHeld] = await table.updateTogether([written(first, one), written(second, other)]);
    return [held === true, alsoHeld === true];
  };
}

const exists: Clause = ({ name }) => `attribute_exists(${name(keyAttribute)})`;

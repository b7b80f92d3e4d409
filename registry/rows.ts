/**
 * Rows of one kind in a store that can write conditionally: all that the rules need of a database. Each call is one
 * atomic read or write. A read sees every write that was answered before it.
 */
export interface Rows<Row> {
  find(key: string): Promise<Row | undefined>;
  /** As `find`, at half its price: the row may be as it was a moment ago. */
  glance(key: string): Promise<Row | undefined>;
  /** All rows, in no particular order. */
  list(): AsyncIterable<Row>;
  /** Writes a whole row in place of what is there. The condition sees a row without properties where there is none. */
  put(key: string, row: Row, condition: Condition<Row>): Promise<boolean>;
  /** Changes a row. False, and no change, when the condition does not hold, and when there is no row. */
  update(key: string, update: Update<Row>, condition?: Condition<Row>): Promise<boolean>;
  /** As `update`. @returns the row as this update leaves it, or undefined instead of false */
  updateAndGet(key: string, update: Update<Row>, condition?: Condition<Row>): Promise<Row | undefined>;
  /** As `updateAndGet`, but where there is no row it makes one. A condition sees a row without properties there. */
  upsert(key: string, update: Update<Row>, condition?: Condition<Row>): Promise<Row | undefined>;
  remove(key: string, condition: Condition<Row>): Promise<boolean>;
}

/** One write of several: as `upsert`. */
export type Write<Row> = { readonly key: string; readonly update: Update<Row>; readonly condition: Condition<Row> };

/**
 * Writes to one row each of two kinds, in one store: both take effect, or neither. @returns which of the conditions held, where nothing
 * was written for another reason than that
 */
export type UpsertBoth<A, B> = (first: Write<A>, second: Write<B>) => Promise<readonly [boolean, boolean]>;

/** The properties of a row; undefined stands for one that is missing. */
type Values<Row> = { readonly [P in keyof Row]?: Row[P] | undefined };

/** What must hold for a write, as data: every store gives it the same meaning. */
export type Condition<Row> =
  | { readonly kind: 'all' | 'any'; readonly conditions: readonly Condition<Row>[] }
  /** each of these properties has this value */
  | { readonly kind: 'is'; readonly values: Values<Row> }
  /** the property is missing or has another value */
  | { readonly kind: 'is-not'; readonly property: keyof Row; readonly value: unknown }
  /** the property is there, and at most or above the limit */
  | { readonly kind: 'at-most' | 'above'; readonly property: keyof Row; readonly limit: number }
  /** of a set; a missing one has no members */
  | { readonly kind: 'includes' | 'excludes'; readonly property: keyof Row; readonly member: string }
  /** of a map; a missing one has no entries */
  | { readonly kind: 'fewer-than'; readonly property: keyof Row; readonly entries: number };

/** What a write does to a row. */
export type Update<Row> = {
  /** undefined removes the property */
  readonly set?: Values<Row>;
  readonly setIfMissing?: Values<Row>;
  /** adds to a number; a missing one counts as 0 */
  readonly increase?: { readonly [P in keyof Row]?: number };
  /** sets entries of a map that is there; undefined removes the entry. A map without entries counts as missing */
  readonly setEntries?: { readonly [P in keyof Row]?: Readonly<Record<string, EntryOf<Row[P]> | undefined>> };
  /** adds members to a set */
  readonly include?: { readonly [P in keyof Row]?: readonly string[] };
  /** removes members of a set. A set without members counts as missing */
  readonly exclude?: { readonly [P in keyof Row]?: readonly string[] };
};

type EntryOf<T> = NonNullable<T> extends Readonly<Record<string, infer Entry>> ? Entry : never;

export function all<Row>(...conditions: readonly Condition<Row>[]): Condition<Row> {
  return { kind: 'all', conditions };
}

export function any<Row>(...conditions: readonly Condition<Row>[]): Condition<Row> {
  return { kind: 'any', conditions };
}

/** The conditions about rows of one kind, typed by its properties. */
export function conditionsOn<Row>() {
  type Property = keyof Row;
  return {
    is: (values: Values<Row>): Condition<Row> => ({ kind: 'is', values }),
    isMissing: (property: Property): Condition<Row> => ({
      kind: 'is',
      values: { [property]: undefined } as Values<Row>,
    }),
    isNot: <P extends Property>(property: P, value: NonNullable<Row[P]>): Condition<Row> => ({
      kind: 'is-not',
      property,
      value,
    }),
    isAtMost: (property: Property, limit: number): Condition<Row> => ({ kind: 'at-most', property, limit }),
    isAbove: (property: Property, limit: number): Condition<Row> => ({ kind: 'above', property, limit }),
    includes: (property: Property, member: string): Condition<Row> => ({ kind: 'includes', property, member }),
    excludes: (property: Property, member: string): Condition<Row> => ({ kind: 'excludes', property, member }),
    hasFewerThan: (entries: number, property: Property): Condition<Row> => ({ kind: 'fewer-than', property, entries }),
  };
}

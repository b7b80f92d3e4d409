import type { AttributeValue, Item } from './table.ts';

/** How values of one type are stored. `read` gives undefined for an attribute of another type. */
export type Codec<T> = {
  write(value: T): AttributeValue;
  read(attribute: AttributeValue): T | undefined;
};

/** The attribute of one property. */
export type Attribute<T> = readonly [
  name: string,
  codec: Codec<T>,
  more?: {
    /** how the attribute was spelled before: read where the new one is missing, removed by the next write */
    readonly earlierName?: string;
    /** this value and a missing attribute mean the same */
    readonly missing?: T;
    /** a part of each longer text that another tool may have written for this value, and of no other's */
    readonly longerSpelling?: (value: T) => string;
  },
];

/** One table from the properties of a row to its attributes: rows are read and written by it in both directions. */
export type Attributes<Row> = { readonly [P in keyof Row]-?: Attribute<NonNullable<Row[P]>> };

export const text: Codec<string> = { write: (value) => ({ S: value }), read: ({ S }) => S };

export const number: Codec<number> = {
  write: (value) => ({ N: String(value) }),
  read: ({ N }) => (N === undefined ? undefined : Number(N)),
};

export const flag: Codec<boolean> = { write: (value) => ({ BOOL: value }), read: ({ BOOL }) => BOOL };

/** Bytes, which take a quarter less room than their text. */
export const base64url: Codec<string> = {
  write: (value) => ({ B: Buffer.from(value, 'base64url') }),
  read: ({ B }) => (B === undefined ? undefined : Buffer.from(B).toString('base64url')),
};

/** A set: DynamoDB knows no empty one. */
export const texts: Codec<readonly string[]> = { write: (value) => ({ SS: [...value] }), read: ({ SS }) => SS };

/** A map with keys that are data. An empty one is read as none. */
export function mapOf<T>(entry: Codec<T>): Codec<Readonly<Record<string, T>>> & { readonly entry: Codec<T> } {
  return {
    entry,
    write: (value) => ({ M: Object.fromEntries(Object.entries(value).map(([key, each]) => [key, entry.write(each)])) }),
    read({ M = {} }) {
      const entries = Object.entries(M).flatMap(([key, attribute]): [string, T][] => {
        const value = entry.read(attribute);
        return value === undefined ? [] : [[key, value]];
      });
      return entries.length === 0 ? undefined : Object.fromEntries(entries);
    },
  };
}

/** A map with keys that are properties. One that lacks a required property is read as none. */
export function objectOf<T extends object>(attributes: Attributes<T>, required: readonly (keyof T)[]): Codec<T> {
  return {
    write: (value) => ({ M: itemOf(attributes, value) }),
    read({ M }) {
      const value = M === undefined ? {} : propertiesOf(attributes, M);
      return required.every((property) => property in value) ? (value as T) : undefined;
    },
  };
}

/** The attributes of the properties that are there. */
export function itemOf<Row extends object>(attributes: Attributes<Row>, row: Partial<Row>): Item {
  const item: Item = {};
  for (const [property, [name, codec]] of entriesOf(attributes)) {
    const value = row[property];
    if (value !== undefined && value !== null) item[name] = codec.write(value);
  }
  return item;
}

/** The properties of the attributes that are there and have the right type. */
export function propertiesOf<Row extends object>(attributes: Attributes<Row>, item: Item): Partial<Row> {
  const row: Partial<Row> = {};
  for (const [property, [name, codec, { earlierName = name, missing } = {}]] of entriesOf(attributes)) {
    const attribute = item[name] ?? item[earlierName];
    const value = attribute === undefined ? undefined : codec.read(attribute);
    if (value !== undefined && value !== missing) row[property] = value;
  }
  return row;
}

function entriesOf<Row extends object>(attributes: Attributes<Row>) {
  return Object.entries(attributes) as unknown as [keyof Row, Attribute<NonNullable<Row[keyof Row]>>][];
}

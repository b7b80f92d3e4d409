import { randomUUID } from 'node:crypto';
import type { Device } from './device.ts';
import type { Registry } from './registry.ts';
import type { Condition, Rows, Update, UpsertBoth, Write } from './rows.ts';
import type { BoundKey } from './rules/bound-keys.ts';
import { createRegistry } from './rules/registry.ts';

/** The association table in memory: for tests, and for the exploration of all schedules (`test/model/`). */
export function createMemoryRegistry(
  devices: Map<string, Device> = new Map(),
  makeId = randomUUID as () => string,
  keys: Map<string, BoundKey> = new Map(),
): Registry {
  return createRegistry(
    { devices: memoryRows(devices), keys: memoryRows(keys), upsertBoth: upsertBothIn(devices, keys) },
    makeId,
  );
}

/** Atomic because it does not wait. */
export function upsertBothIn<A extends object, B extends object>(
  first: Map<string, A>,
  second: Map<string, B>,
): UpsertBoth<A, B> {
  const allows = <Row extends object>(rows: Map<string, Row>, { key, condition }: Write<Row>) =>
    holds(condition, rows.get(key) ?? ({} as Row));
  const write = <Row extends object>(rows: Map<string, Row>, { key, update }: Write<Row>) =>
    void rows.set(key, changedBy(update, rows.get(key) ?? ({} as Row)));
  return async (one, other) => {
    const held = [allows(first, one), allows(second, other)] as const;
    if (held[0] && held[1]) {
      write(first, one);
      write(second, other);
    }
    return held;
  };
}

/** Rows in a map. Each call is atomic because it does not wait. */
export function memoryRows<Row extends object>(rows: Map<string, Row>): Rows<Row> {
  function change(key: string, update: Update<Row>, condition: Condition<Row> | undefined, row: Row | undefined) {
    if (row === undefined || (condition !== undefined && !holds(condition, row))) return undefined;
    const changed = changedBy(update, row);
    rows.set(key, changed);
    return changed;
  }
  return {
    async find(key) {
      return rows.get(key);
    },
    async glance(key) {
      return rows.get(key);
    },
    async *list() {
      yield* rows.values();
    },
    async put(key, row, condition) {
      if (!holds(condition, rows.get(key) ?? ({} as Row))) return false;
      rows.set(key, row);
      return true;
    },
    async update(key, update, condition) {
      return change(key, update, condition, rows.get(key)) !== undefined;
    },
    async updateAndGet(key, update, condition) {
      return change(key, update, condition, rows.get(key));
    },
    async upsert(key, update, condition) {
      return change(key, update, condition, rows.get(key) ?? ({} as Row));
    },
    async remove(key, condition) {
      const row = rows.get(key);
      return row !== undefined && holds(condition, row) && rows.delete(key);
    },
  };
}

function holds<Row extends object>(condition: Condition<Row>, row: Row): boolean {
  switch (condition.kind) {
    case 'all':
      return condition.conditions.every((each) => holds(each, row));
    case 'any':
      return condition.conditions.some((each) => holds(each, row));
    case 'is':
      return Object.entries(condition.values).every(([property, value]) => row[property as keyof Row] === value);
    case 'is-not':
      return row[condition.property] !== condition.value;
    case 'at-most':
      return Number(row[condition.property] ?? Number.NaN) <= condition.limit;
    case 'above':
      return Number(row[condition.property] ?? Number.NaN) > condition.limit;
    case 'includes':
      return setOf(row[condition.property]).has(condition.member);
    case 'excludes':
      return !setOf(row[condition.property]).has(condition.member);
    case 'fewer-than':
      return Object.keys(row[condition.property] ?? {}).length < condition.entries;
  }
}

function changedBy<Row extends object>(update: Update<Row>, row: Row): Row {
  const before = row as Readonly<Record<string, unknown>>;
  const changed: Record<string, unknown> = { ...before, ...update.set };
  for (const [property, value] of partsOf(update.setIfMissing)) changed[property] = before[property] ?? value;
  for (const [property, by] of partsOf(update.increase)) changed[property] = Number(before[property] ?? 0) + by;
  for (const [property, entries] of partsOf(update.setEntries))
    changed[property] = withoutMissing({ ...(before[property] as object | undefined), ...entries });
  for (const [property, members] of partsOf(update.include))
    changed[property] = [...new Set([...setOf(before[property]), ...members])];
  for (const [property, members] of partsOf(update.exclude))
    changed[property] = [...setOf(before[property])].filter((member) => !members.includes(member));
  return withoutMissing(changed) as Row;
}

function partsOf<Part extends object>(part: Part | undefined) {
  return Object.entries(part ?? {}) as [string, NonNullable<Part[keyof Part]>][];
}

function setOf(value: unknown): ReadonlySet<string> {
  return new Set(value as readonly string[] | undefined);
}

/** Leaves out what is undefined, and sets and maps that are empty. A loop, since the exploration does this millions of times. */
function withoutMissing(row: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const rest: Record<string, unknown> = {};
  for (const property in row) if (!isMissing(row[property])) rest[property] = row[property];
  return rest;
}

function isMissing(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return value === undefined;
  for (const _entry in value) return false;
  return true;
}

import { createHash } from 'node:crypto';

/**
 * A number for each of many texts, in 16 to 64 bytes each: a million texts in a `Map` would take hundreds of megabytes. A text is
 * known by 64 bits of its hash: among a million texts, two are taken for one with a probability of 3 in 10^8.
 */
export function createTextIndex() {
  let table = newTable(1024);
  let size = 0;
  return {
    get(text: string): number | undefined {
      const key = keyOf(text);
      const slot = slotOf(table, key);
      return table.keys[slot] === key ? table.numbers[slot] : undefined;
    },
    set(text: string, number: number): void {
      if (size * 2 >= table.keys.length) table = twice(table);
      if (put(table, keyOf(text), number)) size++;
    },
  };
}

type Table = { readonly keys: BigUint64Array; readonly numbers: Float64Array };

const newTable = (slots: number): Table => ({ keys: new BigUint64Array(slots), numbers: new Float64Array(slots) });

/** 0 marks a slot that is free. */
function keyOf(text: string): bigint {
  return createHash('sha256').update(text).digest().readBigUInt64LE() | 1n;
}

/** The slot that has the key, or the free one where it goes. */
function slotOf({ keys }: Table, key: bigint): number {
  const last = keys.length - 1;
  let slot = Number((key >> 1n) & BigInt(last));
  while (keys[slot] !== 0n && keys[slot] !== key) slot = (slot + 1) & last;
  return slot;
}

/** @returns whether the key is new */
function put(table: Table, key: bigint, number: number): boolean {
  const slot = slotOf(table, key);
  const isNew = table.keys[slot] === 0n;
  table.keys[slot] = key;
  table.numbers[slot] = number;
  return isNew;
}

function twice(old: Table): Table {
  const larger = newTable(old.keys.length * 2);
  for (const [slot, key] of old.keys.entries()) if (key !== 0n) put(larger, key, old.numbers[slot] ?? 0);
  return larger;
}

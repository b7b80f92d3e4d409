import { describe, expect, it } from 'vitest';
import { guardedTable } from '../../registry/dynamodb/guarded-table.ts';
import type { DynamoTable, Item } from '../../registry/dynamodb/table.ts';

/** A table with that mark. What is called is written down. */
function tableWith(mark: Item | undefined) {
  const calls: string[] = [];
  const noting = (call: string, answer: unknown) => async () => {
    calls.push(call);
    return answer;
  };
  const table = {
    get: noting('get', mark),
    ...Object.fromEntries(writes.map((write) => [write, noting(write, true)])),
  } as unknown as DynamoTable;
  return { table: guardedTable(table, 'cvm-devices'), calls };
}

const writes = ['put', 'update', 'updateAndGet', 'updateTogether', 'delete'] as const;
const newer = { tableFormat: { N: '2' }, formatBy: { S: '9.0.0' } };

describe('a table that a command writes', () => {
  it.each(writes)('takes no %s where a later version has changed it', async (write) => {
    const { table, calls } = tableWith(newer);
    const act = table[write] as (...given: unknown[]) => Promise<unknown>;
    await expect(act('SN-1')).rejects.toThrow(/the table cvm-devices has format 2, by cvm 9\.0\.0/);
    expect(calls).toEqual(['get']);
  });

  it('is looked at once, where it has no mark or that of this version', async () => {
    for (const mark of [undefined, { tableFormat: { N: '1' } }]) {
      const { table, calls } = tableWith(mark);
      await table.put('SN-1', {});
      await table.put('SN-2', {});
      expect(calls).toEqual(['get', 'put', 'put']);
    }
  });
});

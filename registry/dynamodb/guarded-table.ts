import { NewerFormatError } from '../../runtime/newer-format.ts';
import { tableFormat } from '../table-format.ts';
import { formatOf } from './association-table.ts';
import type { DynamoTable } from './table.ts';

/**
 * A table that refuses writes where a later version has changed the form of its rows: for commands, which do one thing and end. The parts of
 * a gateway look at their start. Before the first write, it costs one read.
 * @param name for people
 */
export function guardedTable(table: DynamoTable, name: string): DynamoTable {
  let looked: Promise<void> | undefined;
  async function look(): Promise<void> {
    const found = await formatOf(table).find();
    if (found.format > tableFormat) throw new NewerFormatError(`the table ${name}`, { ...found, known: tableFormat });
  }
  function guarded<A extends unknown[], T>(write: (...given: A) => Promise<T>): (...given: A) => Promise<T> {
    return async (...given) => {
      looked ??= look().catch((error: unknown) => {
        looked = undefined;
        throw error;
      });
      await looked;
      return write(...given);
    };
  }
  return {
    ...table,
    put: guarded(table.put),
    update: guarded(table.update),
    updateAndGet: guarded(table.updateAndGet),
    updateTogether: guarded(table.updateTogether),
    delete: guarded(table.delete),
  };
}

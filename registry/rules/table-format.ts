import type { Rows } from '../rows.ts';
import { type FoundFormat, type TableFormat, tableFormat } from '../table-format.ts';

export type FormatRow = { readonly format?: number; readonly by?: string };

const key = '#format';

export function createTableFormat(rows: Rows<FormatRow>): TableFormat {
  return {
    find: async () => foundIn(await rows.find(key)),
    claim: async (by) =>
      foundIn((await rows.find(key)) ?? (await rows.upsert(key, { setIfMissing: { format: tableFormat, by } }))),
  };
}

const foundIn = ({ format, by }: FormatRow = {}): FoundFormat => ({
  format: format ?? tableFormat,
  ...(by === undefined ? {} : { by }),
});

import type { Rows } from '../rows.ts';
import { type TableFormat, tableFormat } from '../table-format.ts';

export type FormatRow = { readonly format?: number; readonly by?: string };

const key = '#format';

export function createTableFormat(rows: Rows<FormatRow>): TableFormat {
  return {
    async claim(by) {
      const found =
        (await rows.find(key)) ?? (await rows.upsert(key, { setIfMissing: { format: tableFormat, by } })) ?? {};
      return { format: found.format ?? tableFormat, ...(found.by === undefined ? {} : { by: found.by }) };
    },
  };
}

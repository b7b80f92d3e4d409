import { pipeline, type Readable } from 'node:stream';
import { parse } from 'csv-parse';
import type { EnrolRequest } from './enrol.ts';

const columns = ['serial', 'token', 'policy', 'thing_type', 'thing_group'] as const;
type Column = (typeof columns)[number];

/** One row of a file of devices. `line`: where it ends, from 1. `fault`: why it is no device. */
export type DeviceRow = { readonly line: number; readonly request: EnrolRequest; readonly fault?: string };

/**
 * Reads devices from CSV, row by row. The first line is a header if it names the column `serial`; a file without a header
 * is a list of serials.
 * @throws for a header that cannot be followed, and when the input fails
 */
export function readDeviceRows(input: Readable): AsyncIterable<DeviceRow> {
  const parser = parse({
    bom: true,
    trim: true,
    skip_empty_lines: true,
    relax_column_count: true,
    relax_quotes: true,
    info: true,
  });
  // an error of the input reaches the reader of the rows through the parser, which the pipeline destroys with it
  pipeline(input, parser, () => {});
  return rowsOf(parser);
}

type CsvRecord = { readonly record: readonly string[]; readonly info: { readonly lines: number } };

async function* rowsOf(records: AsyncIterable<CsvRecord>): AsyncIterable<DeviceRow> {
  let header: readonly string[] | undefined;
  for await (const { record, info } of records) {
    if (header === undefined) {
      header = headerIn(record);
      if (header !== undefined) continue;
      header = ['serial'];
    }
    yield rowOf(record, header, info.lines);
  }
}

/** The names of the columns; undefined when this line is not a header. @throws when it is one that cannot be followed */
function headerIn(record: readonly string[]): readonly string[] | undefined {
  const names = record.map((name) => name.toLowerCase());
  const [separator] = /[;\t|]/.exec(names[0] ?? '') ?? [];
  // no serial has these characters
  if (separator !== undefined)
    throw new Error(`line 1: separate the columns with commas, not with ${JSON.stringify(separator)}`);
  const unknown = names.filter((name) => !columns.includes(name as Column));
  if (unknown.length === names.length && !names.some((name) => otherNames.test(name))) return undefined;
  if (!names.includes('serial'))
    throw new Error('line 1: this header has no column "serial"; rename the one with the serials');
  const quoted = unknown.map((name) => JSON.stringify(name)).join(', ');
  if (unknown.length > 0) throw new Error(`line 1: unknown column ${quoted}; known are ${columns.join(', ')}`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new Error(`line 1: the column ${JSON.stringify(twice)} is there twice`);
  return names;
}

/** What other tools call the column of serials. Without this, the name would be enrolled as a device, and its column as serials. */
const otherNames = /^(serial|device|product|thing)[ _-]?(number|no\.?|num|id|name|token)?$/;

function rowOf(record: readonly string[], header: readonly string[], line: number): DeviceRow {
  const text = (column: Column): string | undefined => record[header.indexOf(column)] || undefined;
  const request = {
    serial: text('serial') ?? '',
    token: text('token'),
    policyName: text('policy'),
    thingTypeName: text('thing_type'),
    thingGroupName: text('thing_group'),
  };
  if (record.length === header.length) return { line, request };
  return {
    line,
    request,
    fault: `has ${record.length} columns instead of ${header.length}; a file with more than serials begins with a header such as serial,token`,
  };
}

import type { Readable } from 'node:stream';
import { counted } from '../runtime/counted.ts';
import { fieldsOf, linesOf, type TextLine } from './csv-text.ts';
import type { EnrolRequest } from './enrol.ts';
import { type ListFault, type ListFaultId, listFault, UnreadableList } from './list-faults.ts';

const columns = ['serial', 'token', 'site', 'policy', 'thing_type', 'thing_group', 'claim_group'] as const;
type Column = (typeof columns)[number];

/** How other tools spell the columns, in lower case and without spaces, hyphens and underscores. */
const spellings: Readonly<Record<Column, readonly string[]>> = {
  serial: 'serial serialnumber serialno serialnum serialid sn deviceserial deviceserialnumber deviceid productid'.split(
    ' ',
  ),
  token: 'token devicetoken registrationtoken onetimetoken'.split(' '),
  site: 'site sitename sitenumber siteid cvmsite'.split(' '),
  policy: 'policy policyname iotpolicy iotpolicyname'.split(' '),
  thing_type: 'thingtype thingtypename'.split(' '),
  thing_group: 'thinggroup thinggroupname'.split(' '),
  claim_group: ['claimgroup'],
};

/** One row of a file of devices. `line`: its number, from 1. `fault`: why it is no device, and what to correct. */
export type DeviceRow = { readonly line: number; readonly request: EnrolRequest; readonly fault?: ListFault };

/** How a file is read: what separates its columns, and which they are; '' for a column without a name. */
export type CsvForm = { readonly delimiter: string; readonly columns: readonly (Column | '')[] };

/**
 * Reads devices from CSV, row by row, in bounded memory. The first line is a header if it names a column; a file without a header is a
 * list of serials. Columns are separated by commas, semicolons, tabs or what a first line `sep=` says.
 * @param onForm is called once, before the first row
 * @throws for a header that cannot be followed, for a quote that is not closed on its line, for a file without rows, and when the input fails
 */
export function readDeviceRows(input: Readable, onForm?: (form: CsvForm) => void): AsyncGenerator<DeviceRow> {
  // the reader of the rows gets the error, also one that comes before it begins
  input.on('error', () => {});
  return rowsOf(input, onForm);
}

async function* rowsOf(input: Readable, onForm?: (form: CsvForm) => void): AsyncGenerator<DeviceRow> {
  let [form, isEmpty]: [CsvForm | undefined, boolean] = [undefined, true];
  let separator: string | undefined;
  for await (const line of linesOf(input)) {
    if (line.number === 1) separator = /^"?sep=(.)"?$/i.exec(line.text)?.[1];
    if ((line.number === 1 && separator !== undefined) || line.text.trim() === '') continue;
    if (form === undefined) {
      const header = headerIn(line, separator);
      form = header ?? { delimiter: ',', columns: ['serial'] };
      onForm?.(form);
      if (header !== undefined) continue;
    }
    const row = rowOf(line, form);
    if (row === undefined) continue;
    isEmpty = false;
    yield row;
  }
  if (isEmpty)
    throw new UnreadableList(
      'no-rows',
      form === undefined ? 'the file is empty' : 'the file has a header, and no devices below it',
    );
}

/** Undefined when the first line is no header, but a serial. @throws when it is a header that cannot be followed */
function headerIn({ number, text }: TextLine, separator: string | undefined): CsvForm | undefined {
  const fail = (id: ListFaultId, reason: string) => new UnreadableList(id, `line ${number}: ${reason}`);
  const delimiter = separator ?? delimiterOf(text);
  const parsed = fieldsOf(text, delimiter);
  if ('fault' in parsed) throw fail(parsed.open ? 'quote-open' : 'quotes', parsed.fault);
  const names = withoutEmptyEnd(parsed.fields);
  for (const name of names) {
    const invisible = invisibleIn(name);
    if (invisible !== undefined) throw fail('invisible', `the header has ${invisible}`);
  }
  const found = names.map(columnOf);
  if (!found.some((column) => column !== undefined && column !== '')) {
    const [first = '', ...others] = names;
    if (others.length === 0 && !looksLikeHeader.test(first)) return undefined;
    const reason = others.length > 0 ? 'a file with several columns begins with a header' : 'this looks like a header';
    // not quoted: where there is no header, it may be a token
    throw fail('no-header', `${reason}, and no column of this line is known; known are ${known}`);
  }
  const unknown = names.filter((_name, index) => found[index] === undefined);
  if (unknown.length > 0)
    throw fail('column-unknown', `unknown column ${unknown.map(quoted).join(', ')}; known are ${known}`);
  const columns = found as readonly (Column | '')[];
  const twice = columns.findIndex((column, index) => column !== '' && columns.indexOf(column) !== index);
  const [name = ''] = [columns[twice]];
  if (twice !== -1)
    throw fail('column-twice', `the column ${quoted(name)} is there twice${asSpelled(names, columns, name)}`);
  if (!columns.includes('serial')) throw fail('no-serial-column', 'this header has no column "serial"');
  return { delimiter, columns };
}

const known = columns.join(', ');
const quoted = (text: string) => JSON.stringify(text);

/** A first line that is no serial, most likely: words for columns, and no digit. */
const looksLikeHeader =
  /^\D*(?:serial|serien|s[eé]rie|numm?er|n[uú]mero|num[eé]ro|ger[aä]t|appareil|matricola|matr[ií]cula|device|product|token|(?<![a-z])(?:number|no|nr|id|name|thing|mac|asset)s?(?![a-z])|[a-z] )\D*$/i;

/** '' for a column that has no name, undefined for a name that is not known. */
function columnOf(name: string): Column | '' | undefined {
  if (name === '') return '';
  const spelled = name.toLowerCase().replace(/[ _.-]/g, '');
  return columns.find((column) => spellings[column].includes(spelled));
}

function asSpelled(names: readonly string[], found: readonly string[], column: string): string {
  const spelled = names.filter((_name, index) => found[index] === column);
  return spelled.every((name) => name === column) ? '' : ` (${spelled.map(quoted).join(', ')})`;
}

/** The delimiter with which a first line names the most columns that are known; a comma where none does. */
function delimiterOf(line: string): string {
  const known = (delimiter: string) => {
    const parsed = fieldsOf(line, delimiter);
    return 'fault' in parsed ? 0 : parsed.fields.filter((name) => columnOf(name)).length;
  };
  const [best = ',', ...others] = [',', ';', '\t', '|'].sort((a, b) => known(b) - known(a));
  if (known(best) > 0) return best;
  return [best, ...others].find((delimiter) => line.includes(delimiter)) ?? ',';
}

/** Undefined for a row of empty fields: spreadsheets write such rows. */
function rowOf({ number: line, text }: TextLine, { delimiter, columns }: CsvForm): DeviceRow | undefined {
  const parsed = fieldsOf(text, delimiter);
  if ('fault' in parsed) {
    if (parsed.open)
      throw new UnreadableList(
        'quote-open',
        `line ${line} ${parsed.fault}. The lines after it might belong to that field, so none of them was read`,
      );
    return { line, request: { serial: '' }, fault: listFault('quotes', parsed.fault) };
  }
  const { fields } = parsed;
  if (fields.every((field) => field === '')) return undefined;
  const textOf = (column: Column): string | undefined => fields[columns.indexOf(column)] || undefined;
  const request = {
    serial: textOf('serial') ?? '',
    token: textOf('token'),
    site: textOf('site'),
    policyName: textOf('policy'),
    thingTypeName: textOf('thing_type'),
    thingGroupName: textOf('thing_group'),
    claimGroup: textOf('claim_group'),
  };
  const fault = faultOfFields(fields, columns);
  return fault === undefined ? { line, request } : { line, request, fault };
}

function faultOfFields(fields: readonly string[], columns: CsvForm['columns']): ListFault | undefined {
  const count = withoutEmptyEnd(fields.slice(columns.length)).length + Math.min(fields.length, columns.length);
  if (count !== columns.length)
    return columns.length === 1
      ? listFault('no-header', `has ${counted(count, 'column')} instead of 1`)
      : listFault(
          'column-count',
          `has ${counted(count, 'column')} instead of ${columns.length}; the header names that many`,
        );
  if (fields.some((field, index) => field !== '' && columns[index] === ''))
    return listFault('column-nameless', 'has a value in a column that has no name');
  for (const [index, field] of fields.entries()) {
    const fault = faultOfText(field, columns[index] ?? '');
    if (fault !== undefined) return listFault(fault.id, `the column ${quoted(columns[index] ?? '')} has ${fault.what}`);
  }
  return undefined;
}

/** What programs write for a field without a value: pandas, SQL, R, spreadsheets. */
const placeholder = /^(?:nan|nat|none|null|<na>|n\/a|#n\/a)$/i;

const month = '(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)';
/**
 * Spreadsheets keep 15 digits of a number and write zeros for the rest: of an ICCID (19 digits) the last four are lost. A true serial of 18 digits
 * ends in three zeros once in a thousand; of shorter ones too many do to be refused.
 */
const lostDigits = /^\d{15}0{3,}$/;

/** How Excel writes the date that it makes of MAR5 or MAR-2005, in English and (`05. Mrz`) in German. */
const excelDate = new RegExp(`^(?:\\d{1,2}-${month}|${month}-\\d{2}|\\d{1,2}\\. ?\\p{L}{3})$`, 'u');

/** Such a text would pass for a name, and a device that does not exist would be enrolled by it. */
function faultOfText(text: string, column: Column | ''): { id: ListFaultId; what: string } | undefined {
  if (placeholder.test(text))
    return { id: 'placeholder', what: `${quoted(text)}, which programs write for a missing value` };
  if (column === 'serial' && lostDigits.test(text))
    return {
      id: 'serial-shortened',
      what: `${quoted(text)}, whose digits after the fifteenth are all 0: spreadsheets lose them in long numbers`,
    };
  if (column === 'serial' && excelDate.test(text))
    return { id: 'serial-date', what: `${quoted(text)}, which looks like a serial that a spreadsheet took for a date` };
  // what a decoder writes for bytes that are no UTF-8
  if (text.includes('\uFFFD'))
    return {
      id: 'not-utf8',
      what: `${column === 'token' ? '' : `${quoted(text)}, with `}a character that is not in UTF-8`,
    };
  const what = invisibleIn(text);
  return what === undefined ? undefined : { id: 'invisible', what };
}

/** Spreadsheets end each line with the delimiters of columns that were used once. */
function withoutEmptyEnd(fields: readonly string[]): readonly string[] {
  return fields.slice(0, fields.findLastIndex((field) => field !== '') + 1);
}

/** Names a character that a person does not see in the text. */
function invisibleIn(text: string): string | undefined {
  const found = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]|(?! )\p{Zs}/u.exec(text);
  if (found === null) return undefined;
  const code = (found[0].codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, '0');
  return `an invisible character (U+${code}) at position ${found.index + 1}`;
}

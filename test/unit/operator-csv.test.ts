import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type CsvForm, type DeviceRow, readDeviceRows } from '../../operator/csv.ts';

async function read(input: string | Buffer | Readable, onForm?: (form: CsvForm) => void): Promise<DeviceRow[]> {
  const rows: DeviceRow[] = [];
  const stream = input instanceof Readable ? input : Readable.from([input]);
  for await (const row of readDeviceRows(stream, onForm)) rows.push(row);
  return rows;
}
const serialsOf = async (input: string | Buffer) => (await read(input)).map(({ request }) => request.serial);
const inUtf16 = (text: string) => Buffer.from(text, 'utf16le');

describe('a CSV file of devices', () => {
  it('has the columns of its header, in any order and case; an empty field is none', async () => {
    expect(await read('Policy,serial,TOKEN,thing_type,thing_group,site,claim_group\np,A,t,y,g,s,c\n,B,,,,,\n')).toEqual(
      [
        {
          line: 2,
          request: {
            ...{ serial: 'A', token: 't', site: 's' },
            ...{ policyName: 'p', thingTypeName: 'y', thingGroupName: 'g', claimGroup: 'c' },
          },
        },
        { line: 3, request: { serial: 'B' } },
      ],
    );
  });

  it('may be a list of serials without a header, from any system', async () => {
    const rows = await read('\ufeffA\r\n\r\n B \r\n"C"');
    expect(rows.map(({ line, request }) => [line, request.serial])).toEqual([
      [1, 'A'],
      [3, 'B'],
      [4, 'C'],
    ]);
  });

  it.each([
    ['commas', 'serial,token\r\nA,t\r\n', ','],
    ['semicolons', 'serial;token;policy\r\nA;t;\r\n', ';'],
    ['tabs', 'serial\ttoken\nA\tt\n', '\t'],
    ['bars', 'serial|token\nA|t\n', '|'],
    ["Excel's line sep=", 'sep=;\r\nserial;token\r\nA;t\r\n', ';'],
    ["Excel's line sep= with another delimiter", 'sep=^\r\nserial^token\r\nA^t\r\n', '^'],
  ])('may separate its columns by %s, which is said once', async (_what, text, delimiter) => {
    const forms: CsvForm[] = [];
    const rows = await read(text, (form) => forms.push(form));
    expect(rows).toMatchObject([{ request: { serial: 'A', token: 't' } }]);
    expect(forms).toMatchObject([{ delimiter }]);
    expect(forms[0]?.columns.slice(0, 2)).toEqual(['serial', 'token']);
  });

  it.each([
    ['Serial Number,Token'],
    [' SERIAL , Token '],
    ['Device-Serial,registration_token'],
    ['productId,deviceToken'],
    ['"SN","one-time token"'],
  ])('may call its columns %s', async (header) => {
    expect(await read(`${header}\r\nA,t\r\n`)).toMatchObject([{ line: 2, request: { serial: 'A', token: 't' } }]);
  });

  it('may be a list of serials with a header', async () => {
    expect(await serialsOf('SerialNumber\r\nA\r\nB\r\n')).toEqual(['A', 'B']);
  });

  it.each([
    [
      'that is not known, which is named',
      'serial,tokn\nA,x\n',
      'unknown column "tokn"; known are serial, token, site, policy',
    ],
    ['twice', 'serial,token,serial\nA,x,B\n', 'the column "serial" is there twice'],
    ['twice by two names', 'Serial,SN\nA,B\n', 'the column "serial" is there twice ("Serial", "SN")'],
    ['of tokens only', 'token\nA\n', 'has no column "serial"'],
    ['with an invisible character', 'serial,\u00a0token\nA,x\n', 'invisible character (U+00A0)'],
  ])('is refused as a whole for a column %s', async (_what, text, message) => {
    await expect(read(text)).rejects.toThrow(`line 1: ${message.includes('invisible') ? 'the header has an ' : ''}`);
    await expect(read(text)).rejects.toThrow(message);
  });

  it.each([
    ['Serien-Nr. der Anlage\nA\n', 'this looks like a header'],
    ['serial_numbers\nA\n', 'this looks like a header'],
    ['Seriennummer\nA\n', 'this looks like a header'],
    ['Numéro de série\nA\n', 'this looks like a header'],
    ['Número\nA\n', 'this looks like a header'],
    ['Matricola\nA\n', 'this looks like a header'],
    ['Geräte-ID\nA\n', 'this looks like a header'],
    ['Mac,Secret\nA,x\n', 'a file with several columns begins with a header'],
    ['A,x\nB,y\n', 'a file with several columns begins with a header'],
  ])('does not take a header for a device: %j', async (text, message) => {
    await expect(read(text)).rejects.toThrow(`line 1: ${message}`);
    await expect(read(text)).rejects.toThrow(
      'known are serial, token, site, policy, thing_type, thing_group, claim_group',
    );
  });

  it.each(['nan', 'NaN', 'None', 'NULL', '<NA>', 'NaT', 'n/a', '#N/A'])(
    'takes %s, which programs write for a missing value, for no serial, token or policy',
    async (text) => {
      const rows = await read(`serial,token,policy\n${text},,\nA,${text},\nB,,${text}\nnan-1,,\n`);
      expect(rows.map(({ fault }) => fault && `${fault.reason}; ${fault.cure}`)).toEqual([
        expect.stringMatching(/^the column "serial" has .*missing value; leave the field empty/),
        expect.stringMatching(/^the column "token" has .*missing value/),
        expect.stringMatching(/^the column "policy" has .*missing value/),
        undefined,
      ]);
    },
  );

  it('takes what Excel makes of MAR5 for no serial, and MAR-05 for one', async () => {
    const rows = await read('serial\n5-Mar\nMar-05\nMAR-05\n5-mar\nMar-005\n');
    const date = expect.stringMatching(/took for a date; format the column as text/);
    expect(rows.map(({ fault }) => fault && `${fault.reason}; ${fault.cure}`)).toEqual([
      date,
      date,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('says what the column without a name is that pandas writes', async () => {
    const [row] = await read(',serial\n0,A\n');
    expect(`${row?.fault?.reason}; ${row?.fault?.cure}`).toMatch(/column that has no name; .*index=False/);
  });

  it('has faulty rows with their line, among the others', async () => {
    expect(await read('serial,token\nA,\nB,t,extra\nC,\nD\n,,\nE,"t"x\nF,a"b\nG,\n')).toMatchObject([
      { line: 2, request: { serial: 'A' } },
      { line: 3, request: { serial: 'B' }, fault: { reason: expect.stringContaining('has 3 columns instead of 2') } },
      { line: 4, request: { serial: 'C' } },
      { line: 5, fault: { reason: expect.stringContaining('has 1 column instead of 2; the header names that many') } },
      { line: 7, fault: { reason: expect.stringContaining('a character after a closing quote, at position 6') } },
      { line: 8, fault: { reason: expect.stringContaining('a quote inside a field, at position 4') } },
      { line: 9, request: { serial: 'G' } },
    ]);
  });

  it('has the text of a formula that only keeps a text', async () => {
    const rows = await read('serial,token\r\n="0042",\r\n"=""0043""",t\r\n="0044"x,t\r\n');
    expect(rows).toMatchObject([
      { request: { serial: '0042' } },
      { request: { serial: '0043', token: 't' } },
      { fault: { reason: expect.stringContaining('a quote inside a field') } },
    ]);
  });

  it('names invisible characters, with their column', async () => {
    expect(await read('serial,token\r\nS-3\u00a0,\r\n\u200bS-4,\r\nS-5,a\u00adb\r\n')).toMatchObject([
      { line: 2, fault: { reason: 'the column "serial" has an invisible character (U+00A0) at position 4' } },
      { line: 3, fault: { reason: 'the column "serial" has an invisible character (U+200B) at position 1' } },
      { line: 4, fault: { reason: 'the column "token" has an invisible character (U+00AD) at position 2' } },
    ]);
  });

  it('may have empty columns and rows at its end, as spreadsheets write them', async () => {
    expect(await read('serial,token,,\r\nA,t,,\r\n,,,\r\nB,,,,,\r\nC,,x,\r\n')).toMatchObject([
      { line: 2, request: { serial: 'A', token: 't' } },
      { line: 4, request: { serial: 'B' } },
      { line: 5, fault: { reason: expect.stringContaining('has 3 columns instead of 2') } },
    ]);
  });

  it.each([
    ['that ends on a later line', 'serial,token,policy\nA,,"foo\nB,,\nC,,bar"\nD,,\n'],
    ['that never ends', 'serial,token,policy\nA,,"foo\nB,,\n'],
  ])('with a quote %s is an error at its first line, and nothing after it is read', async (_what, text) => {
    const rows: DeviceRow[] = [];
    const reading = async () => {
      for await (const row of readDeviceRows(Readable.from([text]))) rows.push(row);
    };
    await expect(reading()).rejects.toThrow('line 2 has a quote at position 4 that is not closed on this line');
    expect(rows).toEqual([]);
  });

  it.each([
    ['UTF-16 with a mark', inUtf16('\ufeffserial,token\r\nA,t\r\n')],
    ['UTF-16 without a mark', inUtf16('serial,token\r\nA,t\r\n')],
    ['big-endian UTF-16', inUtf16('\ufeffserial,token\r\nA,t\r\n').swap16()],
    ['big-endian UTF-16 without a mark', inUtf16('serial,token\r\nA,t\r\n').swap16()],
    ['UTF-8 with a mark', Buffer.from('\ufeffserial,token\r\nA,t\r\n')],
  ])('may be in %s', async (_what, bytes) => {
    const one = Readable.from([...bytes].map((byte) => Buffer.from([byte])));
    for (const input of [bytes, one])
      expect(await read(input)).toEqual([{ line: 2, request: { serial: 'A', token: 't' } }]);
  });

  it.each([
    [
      'a spreadsheet',
      Buffer.from('PK\u0003\u0004 and more'),
      'a spreadsheet or another ZIP file: open it, and save it as CSV',
    ],
    ['an old spreadsheet', Buffer.from('d0cf11e0a1b11ae1', 'hex'), 'an Excel file: open it, and save it as CSV'],
    ['a compressed file', Buffer.from('1f8b080000000000', 'hex'), 'a compressed file: unpack it first'],
    ['no text', Buffer.from('serial\nA\0B\n'), 'line 2 has a NUL byte: this is no text file'],
    [
      'one line without an end',
      Buffer.alloc(200_000, 'x'),
      'line 1 is longer than 65536 characters: this is no CSV file',
    ],
    ['empty', Buffer.alloc(0), 'the file is empty'],
    ['blank', Buffer.from('\r\n \r\n'), 'the file is empty'],
    ['a header alone', Buffer.from('serial,token\r\n'), 'the file has a header, and no devices below it'],
  ])('is refused when it is %s', async (_what, bytes, message) => {
    await expect(read(bytes)).rejects.toThrow(message);
  });

  it('says what was written, whatever its delimiter, quotes, line ends, mark and chunks are', async () => {
    const text = fc.string({ unit: fc.constantFrom(...'aZ09:-_ ",;|\t+#'), maxLength: 12 });
    const rows = fc.array(fc.record({ serial: text, token: text, policy: text }), { minLength: 1, maxLength: 8 });
    const forms = fc.record({
      delimiter: fc.constantFrom(',', ';', '\t', '|'),
      lineEnd: fc.constantFrom('\n', '\r\n', '\r'),
      mark: fc.constantFrom('', '\ufeff'),
      quoteAll: fc.boolean(),
      lastLineEnds: fc.boolean(),
      encoding: fc.constantFrom('utf8' as const, 'utf16le' as const),
      chunk: fc.integer({ min: 1, max: 40 }),
    });
    await fc.assert(
      fc.asyncProperty(
        rows,
        forms,
        async (written, { delimiter, lineEnd, mark, quoteAll, lastLineEnds, encoding, chunk }) => {
          const field = (value: string) =>
            quoteAll || /["\r\n]/.test(value) || value.includes(delimiter) ? `"${value.replaceAll('"', '""')}"` : value;
          const lines = [
            ['serial', 'token', 'policy'].join(delimiter),
            ...written.map(({ serial, token, policy }) => [serial, token, policy].map(field).join(delimiter)),
          ];
          const bytes = Buffer.from(mark + lines.join(lineEnd) + (lastLineEnds ? lineEnd : ''), encoding);
          const chunks = Array.from({ length: Math.ceil(bytes.length / chunk) }, (_, index) =>
            bytes.subarray(index * chunk, (index + 1) * chunk),
          );
          const plain = (value: string) => value.replace(/^[ \t]+|[ \t]+$/g, '');
          const expected = written
            .map((row, index) => ({
              line: index + 2,
              serial: plain(row.serial),
              token: plain(row.token) || undefined,
              policyName: plain(row.policy) || undefined,
            }))
            .filter(
              ({ serial, token, policyName }) => serial !== '' || token !== undefined || policyName !== undefined,
            );
          const found = await read(Readable.from(chunks)).catch((error: Error) => error);
          if (expected.length === 0) {
            expect(found).toBeInstanceOf(Error);
            return;
          }
          const flat = (found as DeviceRow[]).map(({ line, request: { serial, token, policyName }, fault }) => ({
            line,
            serial,
            token,
            policyName,
            // a tab inside a field is said
            ...(fault === undefined || fault.reason.includes('U+0009') ? {} : { fault: fault.reason }),
          }));
          expect(flat).toEqual(expected);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('is read without being held: a file of any length takes one chunk at a time', async () => {
    let made = 0;
    const chunks = (function* () {
      yield Buffer.from('serial\n');
      for (; made < 1000; made++) yield Buffer.from(`S-${made}\n`.repeat(50));
    })();
    const rows = readDeviceRows(Readable.from(chunks, { highWaterMark: 1 }));
    for (let read = 0; read < 60; read++) await rows.next();
    expect(made).toBeLessThan(10);
    await rows.return(undefined);
  });

  it('that cannot be read is an error, also when nothing reads its rows yet', async () => {
    const rows = readDeviceRows(createReadStream('/no/such/file.csv'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(rows.next()).rejects.toThrow('ENOENT');
  });
});

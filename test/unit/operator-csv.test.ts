import { createReadStream } from 'node:fs';
import { Readable } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { type DeviceRow, readDeviceRows } from '../../operator/csv.ts';

async function read(input: string | Readable): Promise<DeviceRow[]> {
  const rows: DeviceRow[] = [];
  for await (const row of readDeviceRows(typeof input === 'string' ? Readable.from([input]) : input)) rows.push(row);
  return rows;
}

describe('a CSV file of devices', () => {
  it('has the columns of its header, in any order and case; an empty field is none', async () => {
    expect(await read('Policy,serial,TOKEN,thing_type,thing_group\np,A,t,y,g\n,B,,,\n')).toEqual([
      {
        line: 2,
        request: { serial: 'A', token: 't', policyName: 'p', thingTypeName: 'y', thingGroupName: 'g' },
      },
      { line: 3, request: { serial: 'B' } },
    ]);
  });

  it('may be a list of serials without a header, from any system', async () => {
    const rows = await read('\ufeffA\r\n\r\n B \r\n"C"');
    expect(rows.map(({ line, request }) => [line, request.serial])).toEqual([
      [1, 'A'],
      [3, 'B'],
      [4, 'C'],
    ]);
  });

  it('has faulty rows with their line, among the others', async () => {
    expect(await read('serial,token\nA,\nB,t,extra\nC,\n')).toMatchObject([
      { line: 2, request: { serial: 'A' } },
      { line: 3, request: { serial: 'B' }, fault: expect.stringContaining('has 3 columns instead of 2') },
      { line: 4, request: { serial: 'C' } },
    ]);
  });

  it('is refused as a whole for a column that is not known, which is named', async () => {
    await expect(read('serial,tokn\nA,x\n')).rejects.toThrow('line 1: unknown column "tokn"; known are serial, token');
  });

  it.each([
    ['without the column serial', 'token\nA\n', 'has no column "serial"'],
    ['with another name for it', 'Serial_Number\nA\n', 'has no column "serial"'],
    ['with another name for it, and a token', 'productId,token\nA,x\n', 'has no column "serial"'],
    ['with a column twice', 'serial,token,serial\nA,x,B\n', 'the column "serial" is there twice'],
    ['with semicolons', 'serial;token\nA;x\n', 'separate the columns with commas, not with ";"'],
    ['with tabs', 'serial\ttoken\nA\tx\n', 'separate the columns with commas, not with "\\t"'],
  ])('is refused as a whole for a header %s: its lines would become devices', async (_what, text, message) => {
    await expect(read(text)).rejects.toThrow(message);
  });

  it('may be in UTF-16, as spreadsheets write it', async () => {
    const bytes = Buffer.from('\ufeffserial,token\r\nA,t\r\n', 'utf16le');
    expect(await read(Readable.from([bytes]))).toEqual([{ line: 2, request: { serial: 'A', token: 't' } }]);
  });

  it('that cannot be read is an error, also when nothing reads its rows yet', async () => {
    const rows = readDeviceRows(createReadStream('/no/such/file.csv'));
    await new Promise((resolve) => setTimeout(resolve, 50));
    await expect(rows[Symbol.asyncIterator]().next()).rejects.toThrow('ENOENT');
  });
});

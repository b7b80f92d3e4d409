import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type AuditPage, readAuditBackwards } from '../../runtime/audit-read.ts';

type Events = { readonly happened: { readonly serial: string; readonly requestId: string; readonly number: number } };

describe('a trail that is read from its end', () => {
  let folder: string;
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), 'cvm-audit-'));
    const line = (number: number, month: string) =>
      `${JSON.stringify({ time: `${month}-01T00:00:00.000Z`, part: 'test', event: 'happened', serial: `S${number % 10}`, requestId: `q-${number}`, number, filler: 'ü'.repeat(400) })}\n`;
    const numbers = Array.from({ length: 2000 }, (_, index) => index);
    writeFileSync(
      join(folder, '2026-01.jsonl'),
      numbers
        .slice(0, 900)
        .map((number) => line(number, '2026-01'))
        .join(''),
    );
    writeFileSync(
      join(folder, '2026-02.jsonl'),
      `\nbroken\n${numbers
        .slice(900)
        .map((number) => line(number, '2026-02'))
        .join('')}`,
    );
  });
  afterEach(() => rmSync(folder, { recursive: true, force: true }));

  const all = async (serial: string | undefined, mostBytes?: number) => {
    const found: number[] = [];
    let [after, pages]: [string | undefined, number] = [undefined, 0];
    do {
      const page: AuditPage<Events> = await readAuditBackwards<Events>(folder, {
        serial,
        after,
        limit: 130,
        ...(mostBytes === undefined ? {} : { mostBytes }),
      });
      found.push(...page.records.map(({ number }) => number));
      after = page.next;
      pages++;
    } while (after !== undefined);
    return { found, pages };
  };

  it('gives every record once, the latest first, over all months, page by page', async () => {
    expect((await all(undefined)).found).toEqual(Array.from({ length: 2000 }, (_, index) => 1999 - index));
  });

  it('gives those of one serial, and ends a page after some bytes', async () => {
    const found = Array.from({ length: 200 }, (_, index) => 1993 - 10 * index);
    expect(await all('S3')).toEqual({ found, pages: 2 });
    const short = await all('S3', 300_000);
    expect(short.found).toEqual(found);
    expect(short.pages).toBeGreaterThan(2);
  });

  it('finds the records of one request', async () => {
    const { records } = await readAuditBackwards<Events>(folder, { requestId: 'q-77', limit: 10 });
    expect(records.map(({ number }) => number)).toEqual([77]);
  });

  it('takes no place that is none of its own', async () => {
    for (const after of ['../../etc/passwd:1', '2026-01.jsonl:-1', 'x'])
      await expect(readAuditBackwards(folder, { after, limit: 1 })).rejects.toThrow('no place');
  });
});

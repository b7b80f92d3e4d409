import { open } from 'node:fs/promises';
import { join } from 'node:path';
import type { AuditEventMap, AuditRecord } from './audit.ts';
import { filesIn, linesOf } from './audit-format.ts';

/**
 * Reads a trail, oldest record first, over all monthly files. It holds one line at a time, so a trail may be larger than
 * memory. The order is the one in which the records were written; that is the order of time unless a clock was set back.
 *
 * A line that is no record is skipped: a crash or a full disk left it, or another process is writing it right now. Whether
 * the records are unchanged is the business of `verifyAudit`. A later version may have written events that this one does not
 * know: treat an unknown `event` as such.
 * @param serial only the records of this device
 */
export async function* readAudit<Events extends AuditEventMap>(
  folder: string,
  { serial }: { readonly serial?: string } = {},
): AsyncGenerator<AuditRecord<Events>> {
  // most lines are of other devices: a look at the text is a tenth of the cost of parsing it
  const mark = serial === undefined ? '' : `"serial":${JSON.stringify(serial)}`;
  for (const name of filesIn(folder))
    for await (const { line } of linesOf(join(folder, name))) {
      if (!line.includes(mark)) continue;
      const record = parseRecord<Events>(line);
      if (record !== undefined && (serial === undefined || record.serial === serial)) yield record;
    }
}

function parseRecord<Events extends AuditEventMap>(
  line: string,
): (AuditRecord<Events> & { serial?: unknown }) | undefined {
  try {
    const record = JSON.parse(line);
    return typeof record?.time === 'string' && typeof record.event === 'string' ? record : undefined;
  } catch {
    return undefined;
  }
}

/** Bytes that are read at a time, from the end on. */
const chunkBytes = 262_144;

/** A page of records, the latest first. `next`: where the next page begins; absent at the end. */
export type AuditPage<Events extends AuditEventMap> = {
  readonly records: readonly AuditRecord<Events>[];
  readonly next?: string;
};

/**
 * Reads a trail from its end, page by page. A page has `limit` records. It has fewer where `mostBytes` were read, or `mostMs` went by, before that:
 * then `next` goes on from there.
 * @param serial only the records of this device @param requestId only those of this request
 * @param after `next` of the page before @throws RangeError where `after` has another form
 */
export async function readAuditBackwards<Events extends AuditEventMap>(
  folder: string,
  {
    serial,
    requestId,
    after,
    limit,
    mostBytes = 64 * 1024 * 1024,
    mostMs = Number.POSITIVE_INFINITY,
  }: {
    readonly serial?: string | undefined;
    readonly requestId?: string | undefined;
    readonly after?: string | undefined;
    readonly limit: number;
    readonly mostBytes?: number;
    readonly mostMs?: number;
  },
): Promise<AuditPage<Events>> {
  const began = performance.now();
  const from = after === undefined ? undefined : parsePlace(after);
  const wanted = Object.entries({ serial, requestId }).filter(([, value]) => value !== undefined);
  const marks = wanted.map(([name, value]) => `"${name}":${JSON.stringify(value)}`);
  const records: AuditRecord<Events>[] = [];
  let read = 0;
  for (const name of filesIn(folder).reverse()) {
    if (from !== undefined && name > from.name) continue;
    const end = from?.name === name ? from.at : undefined;
    for await (const { line, begin, bytes } of linesBackwards(join(folder, name), end)) {
      read += bytes;
      const record = marks.every((mark) => line.includes(mark)) ? parseRecord<Events>(line) : undefined;
      if (record !== undefined && wanted.every(([name, value]) => record[name as keyof typeof record] === value))
        records.push(record);
      const isLate = bytes > 0 && performance.now() - began >= mostMs;
      if (records.length >= limit || read >= mostBytes || isLate) return { records, next: `${name}:${begin}` };
    }
  }
  return { records };
}

function parsePlace(text: string): { readonly name: string; readonly at: number } {
  const [, name, at] = /^(\d{4}-\d{2}\.jsonl):(\d{1,15})$/.exec(text) ?? [];
  if (name === undefined) throw new RangeError('this is no place in the audit trail');
  return { name, at: Number(at) };
}

/** The lines of a file, the last one first. `begin`: its offset; `bytes`: how many were read for it. */
async function* linesBackwards(path: string, end?: number) {
  const file = await open(path, 'r');
  try {
    const { size } = await file.stat();
    let at = Math.min(size, end ?? size);
    let rest = Buffer.alloc(0);
    while (at > 0) {
      const start = Math.max(0, at - chunkBytes);
      const chunk = Buffer.alloc(at - start);
      await file.read(chunk, 0, chunk.length, start);
      const text = Buffer.concat([chunk, rest]);
      let [lineEnd, bytes] = [text.length, chunk.length];
      for (
        let newline = text.lastIndexOf(10, lineEnd - 1);
        newline !== -1;
        newline = newline === 0 ? -1 : text.lastIndexOf(10, newline - 1)
      ) {
        if (lineEnd > newline + 1) {
          yield { line: text.toString('utf8', newline + 1, lineEnd), begin: start + newline + 1, bytes };
          // nothing stands behind the last line end, and what was read counts with the line before it
          bytes = 0;
        }
        lineEnd = newline;
      }
      // no record is as long as a chunk
      rest = lineEnd > chunkBytes ? Buffer.alloc(0) : text.subarray(0, lineEnd);
      at = start;
      if (at === 0 && rest.length > 0) yield { line: rest.toString(), begin: 0, bytes };
    }
  } finally {
    await file.close();
  }
}

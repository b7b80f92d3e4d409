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

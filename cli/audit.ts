import { Command, InvalidArgumentError } from 'commander';
import { readAudit } from '../runtime/audit-read.ts';
import { verifyAudit } from '../runtime/audit-verify.ts';
import { counted } from '../runtime/counted.ts';
import { isThere } from '../runtime/is-there.ts';
import type { Settings } from '../runtime/settings.ts';
import type { AuditEvents, ProductRecord } from '../telemetry/audit-events.ts';
import { CommandFailed } from './complaint.ts';
import { wholeNumber } from './numbers.ts';
import { type Colour, coloured, type Terminal } from './table.ts';

export type AuditContext = {
  settings(): Promise<Settings>;
  write(line: string): void;
  readonly terminal?: Terminal | undefined;
};

export function auditCommand(context: AuditContext): Command {
  const audit = new Command('audit');
  audit
    .command('show')
    .description('print what happened, the oldest first')
    .option('--dir <folder>', 'the folder of the trail (default: CVM_AUDIT_DIR)')
    .option('--serial <serial>', 'only the records of this device')
    .option('--since <time>', 'only from this time on: 2026-10-01, or 2026-10-01T08:00:00Z', timeOf)
    .option('--last <n>', 'only the last n of them', wholeNumber)
    .option('--json', 'one JSON object a line, as it stands in the trail')
    .action((options: ShowOptions) => show(context, options));
  audit
    .command('verify')
    .description('check that no record was changed, moved, removed or inserted')
    .option('--dir <folder>', 'the folder of the trail (default: CVM_AUDIT_DIR)')
    .option(
      '--expect <hash>',
      'the head that an earlier run printed, kept elsewhere: no record up to it may be cut off or rewritten',
      recordHash,
    )
    .option('--json', 'as JSON')
    .action(async ({ dir, expect, json }: { dir?: string; expect?: string; json?: boolean }) => {
      const { records, head, faults } = await verifyAudit(dir ?? (await context.settings()).auditDir, expect);
      if (json) context.write(JSON.stringify({ records, head, faults }));
      else {
        for (const fault of faults) console.error(`cvm: ${fault}`);
        context.write(
          `${counted(records, 'record')}, ${faults.length === 0 ? 'all as they were written' : `faults: ${faults.length}`}`,
        );
        if (head !== undefined) context.write(`head ${head}`);
      }
      if (faults.length > 0) process.exitCode = 1;
    });
  return audit;
}

type ShowOptions = { dir?: string; serial?: string; since?: number; last?: number; json?: boolean };

async function show(context: AuditContext, { dir, serial, since, last, json }: ShowOptions): Promise<void> {
  const folder = dir ?? (await context.settings()).auditDir;
  const write = (record: ProductRecord) =>
    context.write(json ? JSON.stringify(record) : lineOf(record, context.terminal?.colours ?? false));
  const kept: ProductRecord[] = [];
  let count = 0;
  for await (const record of readAudit<AuditEvents>(folder, serial === undefined ? {} : { serial })) {
    if (since !== undefined && Date.parse(record.time) < since) continue;
    count++;
    if (last === undefined) write(record);
    else if (kept.push(record) > last) kept.shift();
  }
  kept.forEach(write);
  if (count > 0) return;
  if (!isThere(folder))
    throw new CommandFailed(`there is no folder ${folder}`, 'name the folder of the trail with --dir or CVM_AUDIT_DIR');
  console.error(`cvm: no such record in ${folder}; each machine has the records of its own parts`);
}

const eventColours: Partial<Record<string, Colour>> = {
  vended: 'green',
  refused: 'yellow',
  blocked: 'red',
  removed: 'red',
  'records-lost': 'red',
};

/** `2026-10-01T08:00:00.000Z  broker    refused  SERIAL  errorCode=InvalidToken …`: the chain of hashes is for `verify`. */
function lineOf(record: ProductRecord, colours: boolean): string {
  const {
    time,
    part,
    event,
    serial = '',
    writer,
    hash,
    after,
    ...fields
  } = record as ProductRecord & Record<string, unknown>;
  const details = Object.entries(fields).map(([name, value]) => `${name}=${textOf(value)}`);
  const name = event.padEnd(17);
  return [time, part.padEnd(8), coloured(name, eventColours[event], colours), serial, ...details].join('  ').trimEnd();
}

const textOf = (value: unknown): string => (typeof value === 'object' ? JSON.stringify(value) : String(value));

function timeOf(text: string): number {
  const time = Date.parse(text);
  if (Number.isNaN(time)) throw new InvalidArgumentError('It must be a date or a time, such as 2026-10-01T08:00:00Z.');
  return time;
}

function recordHash(text: string): string {
  if (!/^[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError('A hash has 64 of the characters 0-9 a-f.');
  return text;
}

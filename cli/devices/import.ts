import { createReadStream } from 'node:fs';
import { Command } from 'commander';
import { readDeviceRows } from '../../operator/csv.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import type { EnrolOutcome } from '../../operator/enrol.ts';
import { type ImportDeps, type ImportResult, importDevices } from '../../operator/import.ts';
import { counted } from '../../runtime/counted.ts';
import { startProgress } from '../progress.ts';
import { UsageError } from '../usage-error.ts';
import type { DevicesContext } from './context.ts';
import { type EnrolOptions, enrolSettings, withEnrolOptions } from './enrol-options.ts';
import { alreadyEnrolled, warnUnannounced, warnWithoutGateways } from './print.ts';
import { openTokenFile, toStandardOutput } from './token-file.ts';

export type ImportOptions = EnrolOptions & { out?: string; json?: boolean };
export type ImportSummary = { rows: number; enrolled: number; bad: number; tokensMade: number; tokenFile?: string };

export type ImportContext = Pick<DevicesContext, 'write'> & {
  operator(): ImportDeps & Pick<OperatorDeps, 'approvedGateways'>;
};

export function importCommand(context: ImportContext): Command {
  return withEnrolOptions(
    new Command('import')
      .argument('<file.csv>')
      .description(
        'enrol the devices of a file: columns serial[,token][,policy][,thing_type][,thing_group], with a header line',
      ),
  )
    .option(
      '--out <file>',
      'file for the tokens that are made, "-" for standard output (default: <file.csv>.tokens.csv)',
    )
    .option('--json', 'print the summary as JSON')
    .action(async (file: string, options: ImportOptions) => {
      await importFile(context, file, options);
    });
}

/** @throws where there is no place beside it */
function tokenFileOf(file: string): string {
  if (file.startsWith('/dev/')) throw new UsageError(`--out is needed: no file can be made beside ${file}`);
  return `${file}.tokens.csv`;
}

/** Enrols the devices of a file. Rows that cannot be enrolled are reported with their line; the exit status is then 1. */
export async function importFile(
  { operator, write }: ImportContext,
  file: string,
  options: ImportOptions,
): Promise<ImportSummary> {
  const deps = operator();
  const summary: ImportSummary = { rows: 0, enrolled: 0, bad: 0, tokensMade: 0 };
  const tokens = openTokenFile(options.out ?? tokenFileOf(file), write);
  const progress = startProgress((perSecond) => {
    const { rows, enrolled, bad } = summary;
    return `${rows} rows, ${enrolled} enrolled, ${bad} bad, ${perSecond(rows).toFixed(0)} rows/s`;
  });
  const keepToken = async (serial: string, token: string) => {
    await tokens.add(serial, token);
    summary.tokensMade++;
  };
  const onRow = (line: number, outcome: EnrolOutcome) => count(summary, line, outcome);
  let result: ImportResult;
  try {
    const rows = readDeviceRows(createReadStream(file));
    result = await importDevices(rows, deps, { defaults: enrolSettings(options), keepToken, onRow });
  } finally {
    progress.end();
    const path = await tokens.close();
    if (path !== undefined) summary.tokenFile = path;
  }
  warnUnannounced(result.unannounced);
  if (summary.enrolled > 0 && result.gateways === 0) warnWithoutGateways(await deps.approvedGateways(), deps.now());
  // standard output has the tokens, and nothing else
  const say = options.out === toStandardOutput ? (line: string) => console.error(line) : write;
  for (const line of options.json ? [JSON.stringify(summary)] : linesOf(summary)) say(line);
  return summary;
}

function count(summary: ImportSummary, line: number, outcome: EnrolOutcome): void {
  summary.rows++;
  if (outcome.outcome === 'enrolled') {
    summary.enrolled++;
    return;
  }
  summary.bad++;
  const reason = outcome.outcome === 'exists' ? alreadyEnrolled(outcome.serial) : outcome.reason;
  console.error(`line ${line}: ${reason}`);
  process.exitCode = 1;
}

function linesOf({ rows, enrolled, bad, tokensMade, tokenFile }: ImportSummary): string[] {
  const lines = [`${counted(rows, 'row')}: ${enrolled} enrolled, ${bad} bad`];
  if (tokenFile !== undefined)
    lines.push(`tokens that were made: ${tokensMade}; they are in ${tokenFile} and nowhere else`);
  return lines;
}

import { createReadStream, lstatSync, readlinkSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import { type CsvForm, readDeviceRows } from '../../operator/csv.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import type { ImportDeps, ImportOutcome, ImportResult, KeptTokens, WouldBeEnrolled } from '../../operator/import.ts';
import { alreadyThere } from '../../operator/list-faults.ts';
import { sourceForms } from '../../registry/source-table.ts';
import { counted } from '../../runtime/counted.ts';
import { CommandFailed, complain } from '../complaint.ts';
import { positiveNumber } from '../numbers.ts';
import { startProgress } from '../progress.ts';
import { UsageError } from '../usage-error.ts';
import type { DevicesContext } from './context.ts';
import { type EnrolOptions, enrolSettings, withEnrolOptions } from './enrol-options.ts';
import { type ImportTableContext, type ImportTableOptions, importTable } from './import-table.ts';
import { warnUnannounced, warnWithout } from './print.ts';
import { openTokenFile, readTokenFile, toStandardOutput } from './token-file.ts';

export type ImportOptions = EnrolOptions & { out?: string; dryRun?: boolean; json?: boolean };
export type ImportSummary = {
  rows: number;
  /** with `--dry-run`: would be */
  enrolled: number;
  /** by an earlier run of the same import, with the same token */
  enrolledBefore: number;
  bad: number;
  tokensMade: number;
  tokenFile?: string;
};

export type ImportContext = Pick<DevicesContext, 'write'> & {
  operator(): Promise<ImportDeps & Pick<OperatorDeps, 'approvedGateways'>>;
};

/** Pages of the table, and calls of each operation of AWS IoT Core; its quota for most is 10. */
const usualRate = 5;

export function importCommand(context: ImportContext & ImportTableContext): Command {
  return withEnrolOptions(
    new Command('import')
      .argument('[file.csv]', '"-" for standard input')
      .description(
        'enrol the devices of a file (columns serial[,token][,site][,policy][,thing_type][,thing_group][,claim_group], with a header line; without one it is a list of serials), or take over those of a DynamoDB table that another tool filled. Stopped, it goes on when it is run again',
      ),
  )
    .option(
      '--out <file>',
      'file for the tokens that are made, "-" for standard output; one that is there is continued (default: <file.csv>.tokens.csv)',
    )
    .option(
      '--from-table <name>',
      'take over the devices of this table, with state and certificate. The table itself: hash its tokens in place',
    )
    .addOption(
      new Option(
        '--format <form>',
        'of the table: the five fields (cvm), or serialNumber, deviceToken, certinfo (awslabs). Default: by the key of each row',
      ).choices(sourceForms),
    )
    .option('--dry-run', 'say what would be done, and which rows are bad; write nothing')
    .option('--weak-tokens', 'take over tokens of a table that can be guessed, too')
    .option(
      '--rate <n>',
      'pages of 100 rows, and calls of each AWS IoT operation, in a second',
      positiveNumber,
      usualRate,
    )
    .option('--json', 'print the summary as JSON')
    .action(async (file: string | undefined, options: ImportOptions & ImportTableOptions) => {
      if (options.fromTable !== undefined) return importTable(context, onlyTable(file, options));
      const path = onlyFile(file, options);
      await (options.dryRun ? lookAtFile : importFile)(context, path, options);
    });
}

/** @throws UsageError for what a table does not go with */
function onlyTable(file: string | undefined, options: ImportOptions & ImportTableOptions): ImportTableOptions {
  if (file !== undefined) throw new UsageError('name a file or --from-table, not both');
  if (options.out !== undefined)
    throw new UsageError('--out is for a file: no token is made for the devices of a table');
  return options;
}

/** @throws UsageError when there is no file, and for what a file does not go with */
function onlyFile(file: string | undefined, options: Partial<ImportTableOptions>): string {
  const { format, weakTokens } = options;
  if (file === undefined) throw new UsageError('name a file, or a table with --from-table');
  if (format !== undefined || weakTokens) throw new UsageError('--format and --weak-tokens go with --from-table');
  requireReadable(file);
  return file;
}

/** @throws CommandFailed before AWS is asked, for a path where nothing can be read */
function requireReadable(file: string): void {
  if (file === standardInput) return;
  const found = statSync(file, { throwIfNoEntry: false });
  if (found === undefined)
    throw new CommandFailed(
      `there is no file ${file}`,
      'correct the path; to enrol one device: cvm devices add SERIAL',
    );
  if (found.isDirectory()) throw new CommandFailed(`${file} is a folder`, 'name the file in it that lists the devices');
}

/** As the name of the file. */
const standardInput = '-';

/** The file beside it; undefined where there is no place beside it. */
function tokenFileOf(file: string): string | undefined {
  return file === standardInput || isStream(file) ? undefined : `${file}.tokens.csv`;
}

/** @throws where there is no place beside it */
function requiredTokenFile(file: string): string {
  const beside = tokenFileOf(file);
  if (beside !== undefined) return beside;
  const name = file === standardInput ? 'standard input' : file;
  throw new UsageError(
    `name a file for the tokens with --out: none can be made beside ${name}, which is no file of a folder`,
  );
}

/**
 * Whether the path leads to something else than a file of a folder: a pipe, a terminal, or what is open already as `/dev/stdin` or, by
 * `<(command)` of a shell, as `/dev/fd/63`. A path that leads to nothing is for the reader to complain of.
 */
function isStream(file: string): boolean {
  try {
    return !statSync(file).isFile() || isDescriptor(resolve(file));
  } catch {
    return false;
  }
}

/** Follows the links one by one: the last one, of a descriptor, would lead on to the file that is open there. */
function isDescriptor(path: string): boolean {
  const folder = realpathSync(dirname(path));
  if (/^\/proc\/.*\/fd$|^\/dev\/fd$/.test(folder)) return true;
  const here = join(folder, basename(path));
  return lstatSync(here).isSymbolicLink() && isDescriptor(resolve(folder, readlinkSync(here)));
}

/** Enrols the devices of a file. Rows that cannot be enrolled are reported with their line; the exit status is then 1. */
export async function importFile(
  { operator, write }: ImportContext,
  file: string,
  options: ImportOptions,
): Promise<ImportSummary> {
  const { importDevices } = await import('../../operator/import.ts');
  const deps = await operator();
  const summary = emptySummary();
  // standard output has the tokens, and nothing else
  const say = options.out === toStandardOutput ? (line: string) => console.error(line) : write;
  const tokens = await openTokenFile(options.out ?? requiredTokenFile(file), write);
  const waiting = once(() => console.error('cvm: DynamoDB throttles the writes of this import; it waits, and goes on'));
  const progress = progressOf(summary, 'enrolled');
  let result: ImportResult;
  try {
    const rows = readDeviceRows(streamOf(file), sayForm);
    result = await importDevices(rows, deps, {
      defaults: enrolSettings(options),
      tokens: counting(tokens, summary),
      onRow: (line, outcome) => count(summary, line, outcome, options.json),
      onWait: waiting,
    });
  } finally {
    progress.end();
    const path = await tokens.close();
    if (path !== undefined) summary.tokenFile = path;
    if (summary.rows > 0) for (const line of options.json ? [JSON.stringify(summary)] : linesOf(summary)) say(line);
  }
  warnUnannounced(result.unannounced);
  await warnWithout(result.without, deps);
  return summary;
}

/** Says what an import of the file would do. It reads the table, one row a device, and writes nothing. */
export async function lookAtFile(
  { operator, write }: ImportContext,
  file: string,
  options: ImportOptions,
): Promise<ImportSummary> {
  const { lookAtDevices } = await import('../../operator/import.ts');
  const { registry } = await operator();
  const summary = emptySummary();
  const tokens = await readTokenFile(options.out ?? tokenFileOf(file) ?? toStandardOutput);
  const progress = progressOf(summary, wouldBe);
  try {
    await lookAtDevices(
      readDeviceRows(streamOf(file), sayForm),
      { registry },
      {
        tokens,
        onRow: (line, outcome) => count(summary, line, outcome, options.json),
        onWait: once(() => console.error('cvm: DynamoDB throttles the reads of this look; it waits, and goes on')),
      },
    );
  } finally {
    progress.end();
    await tokens.close();
  }
  const said = `${linesOf(summary, wouldBe)[0]}. Nothing was written: leave out --dry-run to enrol them`;
  write(options.json ? JSON.stringify({ ...summary, dryRun: true }) : said);
  return summary;
}

const wouldBe = 'would be enrolled';

const emptySummary = (): ImportSummary => ({ rows: 0, enrolled: 0, enrolledBefore: 0, bad: 0, tokensMade: 0 });

const streamOf = (file: string) => (file === standardInput ? process.stdin : createReadStream(file));

const progressOf = (summary: ImportSummary, done: string) =>
  startProgress((perSecond) => `${linesOf(summary, done)[0]}, ${perSecond(summary.rows).toFixed(0)} rows/s`);

function once(act: () => void): () => void {
  let done = false;
  return () => {
    if (!done) act();
    done = true;
  };
}

/** Says how the file is read, where that was a guess. */
function sayForm({ delimiter, columns }: CsvForm): void {
  if (delimiter === ',') return;
  const names = columns.filter((column) => column !== '').join(', ');
  console.error(`columns are separated by ${delimiterNames[delimiter] ?? JSON.stringify(delimiter)}: ${names}`);
}

const delimiterNames: Readonly<Record<string, string>> = { ';': 'semicolons', '\t': 'tabs', '|': 'bars' };

function counting(tokens: KeptTokens, summary: ImportSummary): KeptTokens {
  return {
    find: tokens.find,
    async add(serial, token) {
      await tokens.add(serial, token);
      summary.tokensMade++;
    },
  };
}

function count(summary: ImportSummary, line: number, outcome: ImportOutcome | WouldBeEnrolled, asJson?: boolean): void {
  summary.rows++;
  if (outcome.outcome === 'enrolled') summary.enrolled++;
  else if (outcome.outcome === 'enrolled-before') summary.enrolledBefore++;
  else {
    summary.bad++;
    const { serial } = outcome;
    const { reason, cure } = outcome.outcome === 'exists' ? alreadyThere(serial) : outcome;
    complain({ serial, cause: reason, cure, line }, asJson);
  }
}

function linesOf(
  { rows, enrolled, enrolledBefore, bad, tokensMade, tokenFile }: ImportSummary,
  done = 'enrolled',
): string[] {
  const before = enrolledBefore === 0 ? '' : `, ${enrolledBefore} enrolled before`;
  const lines = [`${counted(rows, 'row')}: ${enrolled} ${done}${before}, ${bad} bad`];
  if (tokenFile !== undefined) lines.push(`tokens made now: ${tokensMade}; all are in ${tokenFile} and nowhere else`);
  return lines;
}

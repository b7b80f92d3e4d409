import type { OperatorDeps } from '../../operator/deps.ts';
import type { TakeoverDeps, TakeoverOutcome, TakeoverResult } from '../../operator/takeover.ts';
import type { TakeoverNote } from '../../operator/takeover-judgement.ts';
import type { SourceForm } from '../../registry/source-table.ts';
import { counted } from '../../runtime/counted.ts';
import { complain } from '../complaint.ts';
import { startProgress } from '../progress.ts';
import { type EnrolOptions, enrolSettings } from './enrol-options.ts';
import { invalid, warnUnannounced, warnWithout } from './print.ts';

export type ImportTableOptions = EnrolOptions & {
  /** absent where a file is imported */
  fromTable?: string;
  format?: SourceForm;
  dryRun?: boolean;
  weakTokens?: boolean;
  rate: number;
  json?: boolean;
};

export type ImportTableContext = {
  takeover(
    from: string,
    form: SourceForm | undefined,
    callsPerSecond: number,
  ): Promise<TakeoverDeps & Pick<OperatorDeps, 'approvedGateways'>>;
  write(line: string): void;
};

/** `notes`: the serials to which each applies. */
type Report = {
  readonly table: string;
  readonly dryRun: boolean;
  rows: number;
  takenOver: number;
  existing: number;
  readonly existingWithOtherToken: string[];
  readonly refused: { readonly serial: string; readonly reason: string }[];
  readonly notes: Partial<Record<TakeoverNote, string[]>>;
};

/** Takes over the devices of a table. Rows that cannot be taken over are reported; the exit status is then 1. */
export async function importTable({ takeover, write }: ImportTableContext, options: ImportTableOptions): Promise<void> {
  const { fromTable = '', format, dryRun = false, weakTokens = false, rate, json } = options;
  const { takeOverTable } = await import('../../operator/takeover.ts');
  const deps = await takeover(fromTable, format, rate);
  const report: Report = {
    ...{ table: fromTable, dryRun, rows: 0, takenOver: 0, existing: 0 },
    ...{ existingWithOtherToken: [], refused: [], notes: {} },
  };
  const progress = startProgress((perSecond) => `${summaryOf(report)}, ${perSecond(report.rows).toFixed(0)} rows/s`);
  const settings = { from: fromTable, dryRun, weakTokens, defaults: enrolSettings(options) };
  let result: TakeoverResult;
  try {
    result = await takeOverTable(deps, { ...settings, onRow: (outcome) => count(report, outcome, json) });
  } finally {
    progress.end();
  }
  warnUnannounced(result.unannounced);
  await warnWithout(result.without, deps);
  for (const line of json ? [JSON.stringify(report)] : linesOf(report)) write(line);
}

function count(report: Report, result: TakeoverOutcome, asJson?: boolean): void {
  const { serial } = result;
  report.rows++;
  if (result.outcome === 'refused') {
    report.refused.push({ serial, reason: result.reason });
    complain(invalid(serial, result.reason), asJson);
  } else if (result.outcome === 'exists') {
    report.existing++;
    if (!result.sameToken) report.existingWithOtherToken.push(serial);
  } else {
    report.takenOver++;
    for (const note of result.notes) report.notes[note] = [...(report.notes[note] ?? []), serial];
  }
}

const summaryOf = ({ table, dryRun, rows, takenOver, existing, refused }: Report): string =>
  `${counted(rows, 'row')} of ${table}: ${takenOver} ${dryRun ? 'would be taken over' : 'taken over'}, ${existing} there already, ${refused.length} refused`;

const meanings: Readonly<Record<TakeoverNote, string>> = {
  'weak-token':
    'a token that can be guessed, or that another device has, too: who finds it out can get a certificate in the name of the device until it has its own',
  'weak-token-spent':
    'a token that can be guessed, or that another device has, too, and that counts as spent: the device has its certificate. For another one: cvm devices reissue',
  'certificate-not-active': 'a certificate that is not ACTIVE: cvm devices unblock activates it',
  'certificate-not-attached': 'a certificate that is attached to no thing',
  'certificate-not-named':
    'registered, and its row names no certificate: cvm devices reissue gives it one that the table knows',
};

function linesOf(report: Report): string[] {
  const { notes, existingWithOtherToken: other } = report;
  const noted = Object.entries(notes) as [TakeoverNote, string[]][];
  return [
    summaryOf(report),
    ...noted.map(([note, serials]) => `${note}: ${some(serials)}: ${meanings[note]}`),
    ...(other.length === 0 ? [] : [`there already, with another token: ${some(other)}`]),
  ];
}

/** `--json` has all of them. */
function some(serials: readonly string[]): string {
  const first = serials.slice(0, 5).join(', ');
  return serials.length <= 5 ? first : `${first} and ${serials.length - 5} more`;
}

import { Command } from 'commander';
import type { Explanation, TimelineEntry, Verdict } from '../operator/explanation.ts';
import { isSerial, serialRule } from '../protocol/serial.ts';
import { type Colour, coloured, oneLine, type Terminal } from './table.ts';
import { UsageError } from './usage-error.ts';
import { verdictLines, wrap } from './verdict.ts';

export type ExplainContext = {
  write(line: string): void;
  explain(named: string): Promise<Explanation>;
  readonly terminal?: Terminal | undefined;
};

export function explainCommand(context: ExplainContext): Command {
  return new Command('explain')
    .argument('<serial>', 'serial of the device, or the id of a request from a log or the audit trail')
    .description('say why a device has no certificate, and what to do: every step that was seen of it')
    .option('--json', 'as JSON (docs/explain.md has its form)')
    .addHelpText(
      'after',
      '\nExit status: 0 all is well, or the device only has to wait; 1 there is a problem (the cure is printed); 2 wrong use.',
    )
    .action(async (named: string, { json }: { json?: boolean }) => {
      // a serial is public, and no request has an id of other characters
      if (!isSerial(named))
        throw new UsageError(
          `${JSON.stringify(named)} is neither a serial nor the id of a request: ${serialRule}. A device that uses this as its serial is refused: give it one of these characters, and enrol that`,
        );
      const explanation = await context.explain(named);
      if (explanation.verdict.state === 'problem') process.exitCode = 1;
      if (json) return context.write(JSON.stringify(explanation));
      for (const line of explanationLines(explanation, context.terminal)) context.write(line);
    });
}

const stateColours: Readonly<Record<Verdict['state'], Colour>> = { ok: 'green', waiting: 'yellow', problem: 'red' };

/** For a person: the verdict first, since it may be all that is read. */
export function explanationLines(explanation: Explanation, terminal: Terminal | undefined): string[] {
  const { device, verdict, timeline, missing = [] } = explanation;
  const { columns = 100, colours = false } = terminal ?? {};
  const site = 'site' in device && device.site !== undefined ? `, site ${oneLine(device.site)}` : '';
  return [
    `${device.serial} (${device.state}${site}): ${coloured(verdict.title, stateColours[verdict.state], colours)}`,
    ...verdictLines(verdict, columns),
    ...missing.flatMap((each) => wrap(`not looked at: ${each}`, columns, '  ')),
    ...(timeline.length === 0 ? [] : ['', ...timeline.flatMap((entry) => entryLines(entry, columns, colours))]),
  ];
}

const outcomeColours: Readonly<Record<TimelineEntry['outcome'], Colour | undefined>> = {
  ok: 'green',
  waiting: 'yellow',
  refused: 'red',
  failed: 'red',
};

/** `2026-10-01 08:00:00  broker    refused   InvalidToken, from 10.0.0.7, 12 times since …` */
function entryLines(entry: TimelineEntry, columns: number, colours: boolean): string[] {
  const { at, part, step, outcome, detail, errorCode, from, count, since, by, requestId, unproven } = entry;
  const details = [
    errorCode,
    detail,
    by === undefined ? undefined : `by ${oneLine(by)}`,
    from === undefined ? undefined : `from ${from}`,
    count === undefined ? undefined : `${count} times since ${timeText(since ?? at)}`,
    requestId === undefined ? undefined : `request ${requestId}`,
    unproven ? 'nothing proves that it was the device' : undefined,
  ].filter((each) => each !== undefined);
  const head = `${timeText(at)}  ${part.padEnd(8)}  `;
  const name = step.padEnd(12);
  const [first = '', ...rest] = wrap(
    `${head}${name}  ${details.join(', ')}`,
    columns,
    ' '.repeat(columns < 80 ? 4 : head.length + 14),
  );
  return [first.replace(name, () => coloured(name, outcomeColours[outcome], colours)), ...rest].map((line) =>
    line.trimEnd(),
  );
}

const timeText = (iso: string): string => iso.slice(0, 19).replace('T', ' ');

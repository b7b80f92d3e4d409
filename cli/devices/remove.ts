import { Command } from 'commander';
import { remove } from '../../operator/decisions.ts';
import type { DevicesContext } from './context.ts';
import { failRefused, failUnfinished, forceOption, jsonOption, patientWith, warnUnannounced } from './print.ts';

type Options = { keepThing?: boolean; force?: boolean; json?: boolean };

export function removeCommand(context: DevicesContext): Command {
  return new Command('remove')
    .argument('<serial...>')
    .description('delete the certificate, the thing and the row of a device; safe to repeat until it is done')
    .option('--keep-thing', 'leave the thing in AWS IoT Core: its attributes, groups and shadow')
    .option(...forceOption)
    .option(...jsonOption)
    .action((serials: string[], options: Options) => removeEach(context, serials, options));
}

async function removeEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  { keepThing, force, json }: Options,
): Promise<void> {
  const deps = await operator();
  for (const serial of serials) {
    const result = await remove(serial, keepThing ? 'keep-thing' : 'with-thing', deps, patientWith(serial, force));
    if (result.outcome !== 'removed') {
      failRefused(serial, result, json);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.unfinished === undefined)
      write(
        json
          ? JSON.stringify({ serial, outcome: 'removed', row: result.row })
          : `${serial} removed${result.row === 'gone' ? '' : rowStays}`,
      );
    else
      failUnfinished(
        serial,
        {
          stands: `${serial} gets no certificate any more, but it is not removed yet`,
          reason: result.unfinished,
          cure: 'Run the command again, or leave it to the next sweep',
        },
        json,
      );
  }
}

const rowStays =
  ', but for its row: the next sweep first looks for a certificate whose create call got no answer, then deletes the row';

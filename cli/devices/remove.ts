import { Command } from 'commander';
import { remove } from '../../operator/decisions.ts';
import type { DevicesContext } from './context.ts';
import { failRefused, failUnfinished, forceOption, patientWith, warnUnannounced } from './print.ts';

type Options = { keepThing?: boolean; force?: boolean };

export function removeCommand(context: DevicesContext): Command {
  return new Command('remove')
    .argument('<serial...>')
    .description('delete the certificate, the thing and the row of a device; safe to repeat until it is done')
    .option('--keep-thing', 'leave the thing in AWS IoT Core: its attributes, groups and shadow')
    .option(...forceOption)
    .action((serials: string[], options: Options) => removeEach(context, serials, options));
}

async function removeEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  { keepThing, force }: Options,
): Promise<void> {
  const deps = operator();
  for (const serial of serials) {
    const result = await remove(serial, keepThing ? 'keep-thing' : 'with-thing', deps, patientWith(serial, force));
    if (result.outcome !== 'removed') {
      failRefused(serial, result);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.unfinished === undefined) write(`${serial} removed${result.row === 'gone' ? '' : rowStays}`);
    else
      failUnfinished({
        stands: `${serial} gets no certificate any more, but it is not removed yet`,
        reason: result.unfinished,
        cure: 'Run the command again, or leave it to the next sweep',
      });
  }
}

const rowStays =
  ', but for its row: the next sweep first looks for a certificate whose create call got no answer, then deletes the row';

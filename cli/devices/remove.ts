import { Command } from 'commander';
import { remove } from '../../operator/decisions.ts';
import type { DevicesContext } from './context.ts';
import { failRefused, failUnfinished, patientWith, warnUnannounced } from './print.ts';

export function removeCommand(context: DevicesContext): Command {
  return new Command('remove')
    .argument('<serial...>')
    .description('delete the certificate, the thing and the row of a device; safe to repeat until it is done')
    .option('--keep-thing', 'leave the thing in AWS IoT Core: its attributes, groups and shadow')
    .action((serials: string[], options: { keepThing?: boolean }) => removeEach(context, serials, options));
}

async function removeEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  { keepThing }: { keepThing?: boolean },
): Promise<void> {
  const deps = operator();
  for (const serial of serials) {
    const result = await remove(serial, keepThing ? 'keep-thing' : 'with-thing', deps, patientWith(serial));
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

import { Command } from 'commander';
import { block, unblock } from '../../operator/decisions.ts';
import type { DevicesContext } from './context.ts';
import { failRefused, failUnfinished, warnUnannounced } from './print.ts';

export function blockCommand(context: DevicesContext): Command {
  return new Command('block')
    .argument('<serial...>')
    .description('make the certificate of a device INACTIVE at once, and refuse it another; safe to repeat')
    .action((serials: string[]) => blockEach(context, serials));
}

export function unblockCommand(context: DevicesContext): Command {
  return new Command('unblock')
    .argument('<serial...>')
    .description('undo a block, and activate the certificate again; safe to repeat')
    .action((serials: string[]) => unblockEach(context, serials));
}

async function blockEach({ operator, write }: DevicesContext, serials: readonly string[]): Promise<void> {
  const deps = operator();
  for (const serial of serials) {
    const result = await block(serial, deps);
    if (result.outcome !== 'blocked') {
      failRefused(serial, result);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.unfinished === undefined) write(`${serial} blocked`);
    else
      failUnfinished({
        stands: `${serial} is blocked, but its certificate may still be ACTIVE`,
        reason: result.unfinished,
        cure: 'Run the command again',
      });
  }
}

async function unblockEach({ operator, write }: DevicesContext, serials: readonly string[]): Promise<void> {
  const deps = operator();
  for (const serial of serials) {
    const result = await unblock(serial, deps);
    if (result.outcome !== 'unblocked') {
      failRefused(serial, result);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.goneCertificate !== undefined)
      failUnfinished({
        stands: `${serial} is unblocked, and has no certificate that works`,
        reason: `certificate ${result.goneCertificate} is gone in AWS`,
        cure: `Give the device another token, with which it gets another certificate: cvm devices reissue ${serial}`,
      });
    else if (result.unfinished === undefined) write(`${serial} unblocked`);
    else
      failUnfinished({
        stands: `${serial} is unblocked, but its certificate may still be INACTIVE`,
        reason: result.unfinished,
        cure: 'Run the command again',
      });
  }
}

import { Command } from 'commander';
import { block, unblock } from '../../operator/decisions.ts';
import type { DevicesContext } from './context.ts';
import { failRefused, failUnfinished, jsonOption, warnUnannounced } from './print.ts';

export function blockCommand(context: DevicesContext): Command {
  return new Command('block')
    .argument('<serial...>')
    .description('make the certificate of a device INACTIVE at once, and refuse it another; safe to repeat')
    .option(...jsonOption)
    .action((serials: string[], { json }: { json?: boolean }) => blockEach(context, serials, json));
}

export function unblockCommand(context: DevicesContext): Command {
  return new Command('unblock')
    .argument('<serial...>')
    .description('undo a block, and activate the certificate again; safe to repeat')
    .option(...jsonOption)
    .action((serials: string[], { json }: { json?: boolean }) => unblockEach(context, serials, json));
}

async function blockEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  json?: boolean,
): Promise<void> {
  const deps = await operator();
  for (const serial of serials) {
    const result = await block(serial, deps);
    if (result.outcome !== 'blocked') {
      failRefused(serial, result, json);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.unfinished === undefined)
      write(json ? JSON.stringify({ serial, outcome: 'blocked' }) : `${serial} blocked`);
    else
      failUnfinished(
        serial,
        {
          stands: `${serial} is blocked, but its certificate may still be ACTIVE`,
          reason: result.unfinished,
          cure: 'Run the command again',
        },
        json,
      );
  }
}

async function unblockEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  json?: boolean,
): Promise<void> {
  const deps = await operator();
  for (const serial of serials) {
    const result = await unblock(serial, deps);
    if (result.outcome !== 'unblocked') {
      failRefused(serial, result, json);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.goneCertificate !== undefined)
      failUnfinished(
        serial,
        {
          stands: `${serial} is unblocked, and has no certificate that works`,
          reason: `certificate ${result.goneCertificate} is gone in AWS`,
          cure: `Give the device another token, with which it gets another certificate: cvm devices reissue ${serial}`,
        },
        json,
      );
    else if (result.unfinished === undefined)
      write(json ? JSON.stringify({ serial, outcome: 'unblocked' }) : `${serial} unblocked`);
    else
      failUnfinished(
        serial,
        {
          stands: `${serial} is unblocked, but its certificate may still be INACTIVE`,
          reason: result.unfinished,
          cure: 'Run the command again',
        },
        json,
      );
  }
}

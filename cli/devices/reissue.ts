import { Command } from 'commander';
import { complain } from '../complaint.ts';
import { lifetimeMs } from '../duration.ts';
import type { DevicesContext } from './context.ts';
import { givenToken, type TokenOptions, withTokenOptions } from './given-token.ts';
import {
  failRefused,
  failUnfinished,
  forceOption,
  invalid,
  jsonOption,
  patientWith,
  printGiven,
  printToken,
  warnUnannounced,
} from './print.ts';

type Options = TokenOptions & { expires?: number; force?: boolean; json?: boolean };

export function reissueCommand(context: DevicesContext): Command {
  const command = new Command('reissue')
    .argument('<serial...>')
    .description(
      'make a new token for a device; its certificate works until the new one is active. Prints each token once',
    );
  return withTokenOptions(command)
    .option('--expires <duration>', 'lifetime of the token: 12h, 30d (default: no end)', lifetimeMs)
    .option(...forceOption)
    .option(...jsonOption)
    .action((serials: string[], options: Options) => reissueEach(context, serials, options));
}

async function reissueEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  { expires, force, json, ...options }: Options,
): Promise<void> {
  const given = givenToken(options, serials);
  const { reissue } = await import('../../operator/reissue.ts');
  const deps = await operator();
  // twice would make two tokens, of which the first is worth nothing
  for (const serial of new Set(serials)) {
    const onToken = (token: string) =>
      given === undefined ? printToken(write, serial, token, json) : printGiven(write, serial, json);
    const result = await reissue(
      serial,
      { token: given, tokenLifetimeMs: expires, patience: patientWith(serial, force), onToken },
      deps,
    );
    if (result.outcome === 'invalid') {
      complain(invalid(serial, result.reason), json);
      continue;
    }
    if (result.outcome !== 'reissued') {
      failRefused(serial, result, json);
      continue;
    }
    warnUnannounced(result.unannounced);
    if (result.unfinished !== undefined)
      failUnfinished(
        serial,
        {
          stands: `${serial} has its new token, but a certificate that never went live may not be deleted yet`,
          reason: result.unfinished,
          cure: "The device's next request or the next sweep deletes it",
        },
        json,
      );
  }
}

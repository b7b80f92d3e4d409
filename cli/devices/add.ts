import { Command } from 'commander';
import type { EnrolOutcome } from '../../operator/enrol.ts';
import { complain } from '../complaint.ts';
import type { DevicesContext } from './context.ts';
import { type EnrolOptions, enrolSettings, withEnrolOptions } from './enrol-options.ts';
import { givenToken, type TokenOptions, withTokenOptions } from './given-token.ts';
import { alreadyEnrolled, invalid, jsonOption, printGiven, printToken, warnUnannounced, warnWithout } from './print.ts';

type Options = EnrolOptions & TokenOptions & { json?: boolean };

export function addCommand(context: DevicesContext): Command {
  const command = new Command('add').argument('<serial...>').description('enrol devices; prints each token once');
  return withTokenOptions(withEnrolOptions(command))
    .option(...jsonOption)
    .action((serials: string[], options: Options) => add(context, serials, options));
}

async function add({ operator, write }: DevicesContext, serials: readonly string[], options: Options): Promise<void> {
  const given = givenToken(options, serials);
  const requests = serials.map((serial) => ({ ...enrolSettings(options), serial, token: given }));
  const show = (serial: string, token: string) =>
    given === undefined ? printToken(write, serial, token, options.json) : printGiven(write, serial, options.json);
  const print = (outcome: EnrolOutcome) => {
    const { serial } = outcome;
    if (outcome.outcome === 'enrolled') show(serial, outcome.token);
    else
      complain(
        outcome.outcome === 'exists' ? alreadyEnrolled(serial) : invalid(serial, outcome.reason, outcome.cure),
        options.json,
      );
  };
  // one after the other: the lines have the order of the arguments
  const { enrol } = await import('../../operator/enrol.ts');
  const deps = await operator();
  const result = await enrol(requests, deps, { concurrency: 1, onOutcome: print });
  warnUnannounced(result.unannounced);
  if (!result.outcomes.some(({ outcome }) => outcome === 'enrolled')) return;
  await warnWithout(result.without, deps);
  if (!options.json && given === undefined)
    console.error('Write the tokens down: they are stored nowhere and will not be shown again.');
}

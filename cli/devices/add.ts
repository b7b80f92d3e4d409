import { Command } from 'commander';
import { type EnrolOutcome, enrol } from '../../operator/enrol.ts';
import type { DevicesContext } from './context.ts';
import { type EnrolOptions, enrolSettings, withEnrolOptions } from './enrol-options.ts';
import { givenToken, type TokenOptions, withTokenOptions } from './given-token.ts';
import { alreadyEnrolled, fail, printGiven, printToken, warnUnannounced, warnWithout } from './print.ts';

type Options = EnrolOptions & TokenOptions & { json?: boolean };

export function addCommand(context: DevicesContext): Command {
  const command = new Command('add').argument('<serial...>').description('enrol devices; prints each token once');
  return withTokenOptions(withEnrolOptions(command))
    .option('--json', 'one JSON object a line')
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
    else fail(outcome.outcome === 'exists' ? alreadyEnrolled(serial) : `${JSON.stringify(serial)}: ${outcome.reason}`);
  };
  // one after the other: the lines have the order of the arguments
  const deps = operator();
  const result = await enrol(requests, deps, { concurrency: 1, onOutcome: print });
  warnUnannounced(result.unannounced);
  if (!result.outcomes.some(({ outcome }) => outcome === 'enrolled')) return;
  await warnWithout(result.without, deps);
  if (!options.json && given === undefined)
    console.error('Write the tokens down: they are stored nowhere and will not be shown again.');
}

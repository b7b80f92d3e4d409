import { Command } from 'commander';
import { type EnrolOutcome, enrol } from '../../operator/enrol.ts';
import type { DevicesContext } from './context.ts';
import { type EnrolOptions, enrolSettings, withEnrolOptions } from './enrol-options.ts';
import { alreadyEnrolled, fail, printToken, warnUnannounced, warnWithoutGateways } from './print.ts';

type Options = EnrolOptions & { token?: string; json?: boolean };

export function addCommand(context: DevicesContext): Command {
  return withEnrolOptions(
    new Command('add').argument('<serial...>').description('enrol devices; prints each token once'),
  )
    .option(
      '--token <token>',
      'a token that the device has already; only with one serial. Other users of this machine can see it while the command runs: `import` reads tokens from a file',
    )
    .option('--json', 'one JSON object a line')
    .action((serials: string[], options: Options, command: Command) => {
      if (options.token !== undefined && serials.length > 1)
        command.error('--token goes with one serial: a token belongs to one device', { exitCode: 2 });
      return add(context, serials, options);
    });
}

async function add({ operator, write }: DevicesContext, serials: readonly string[], options: Options): Promise<void> {
  const requests = serials.map((serial) => ({ ...enrolSettings(options), serial, token: options.token }));
  const print = (outcome: EnrolOutcome) => {
    const { serial } = outcome;
    if (outcome.outcome === 'enrolled') printToken(write, serial, outcome.token, options.json);
    else fail(outcome.outcome === 'exists' ? alreadyEnrolled(serial) : `${JSON.stringify(serial)}: ${outcome.reason}`);
  };
  // one after the other: the lines have the order of the arguments
  const deps = operator();
  const result = await enrol(requests, deps, { concurrency: 1, onOutcome: print });
  warnUnannounced(result.unannounced);
  if (!result.outcomes.some(({ outcome }) => outcome === 'enrolled')) return;
  if (result.gateways === 0) warnWithoutGateways(await deps.approvedGateways(), deps.now());
  if (!options.json) console.error('Write the tokens down: they are stored nowhere and will not be shown again.');
}

import { Command } from 'commander';
import { move } from '../../operator/move.ts';
import { siteName } from '../site-name.ts';
import { UsageError } from '../usage-error.ts';
import type { DevicesContext } from './context.ts';
import { failRefused, forceOption, jsonOption, patientWith, warnUnannounced } from './print.ts';

/** commander sets `site` to false for `--no-site` */
type Options = { site?: string | false; force?: boolean; json?: boolean };

export function moveCommand(context: DevicesContext): Command {
  const named = new Set<string>();
  const command = new Command('move')
    .argument('<serial...>')
    .description('give a device to another site: it keeps its token and its certificate; safe to repeat')
    .option('--site <name>', 'the site whose gateways serve it from now on', siteName)
    .option('--no-site', 'every gateway serves it from now on')
    .option(...forceOption)
    .option(...jsonOption)
    .action((serials: string[], options: Options) => {
      if (named.size > 1) throw new UsageError('give --site NAME or --no-site, not both');
      return moveEach(context, serials, options);
    });
  // both write the same option, so commander would let the last of them decide
  for (const name of ['site', 'no-site']) command.on(`option:${name}`, () => named.add(name));
  return command;
}

async function moveEach(
  { operator, write }: DevicesContext,
  serials: readonly string[],
  { site, force, json }: Options,
): Promise<void> {
  // without either, commander says true
  if (typeof site !== 'string' && site !== false) throw new UsageError('give --site NAME or --no-site');
  const to = site === false ? undefined : site;
  const deps = await operator();
  const withoutKeys: string[] = [];
  let unserved = false;
  for (const serial of new Set(serials)) {
    const result = await move(serial, to, deps, patientWith(serial, force));
    if (result.outcome === 'is-there')
      write(
        json
          ? JSON.stringify({ serial, outcome: 'is-there', site: to })
          : `${serial} ${to === undefined ? 'has no site' : `has the site ${to}`} already`,
      );
    else if (result.outcome === 'moved') {
      warnUnannounced(result.unannounced);
      const { from } = result;
      write(
        json
          ? JSON.stringify({ serial, outcome: 'moved', from, site: to })
          : `${serial} moved from ${from ?? 'no site'} to ${to ?? 'no site'}`,
      );
      if (result.needsKeys) withoutKeys.push(serial);
      unserved ||= result.unserved === true;
    } else failRefused(serial, result, json);
  }
  // a site is nothing but a name that devices and gateways share: a slip of the finger makes a new one
  if (unserved)
    console.error(
      `No approved gateway${to === undefined ? '' : ` of the site ${to}`} was seen in the last 30 days (cvm tls gateways lists them): until one runs, no gateway vends for these devices. Where the name is wrong, move them again.`,
    );
  if (withoutKeys.length > 0)
    console.error(
      `At the new site, the token works in a message or as the password. Where it is to be a TLS pre-shared key, make a new one: cvm devices reissue ${withoutKeys.join(' ')}`,
    );
}

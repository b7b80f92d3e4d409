import { Command } from 'commander';
import { readTlsMaterial, renewTlsMaterial, type TlsMaterial, tlsOptions } from '../broker/tls/site-ca.ts';
import type { Settings } from '../runtime/settings.ts';
import { UsageError } from './program.ts';

export type TlsContext = { settings(): Settings; write(line: string): void };

export function tlsCommand(context: TlsContext): Command {
  const tls = new Command('tls').description("the broker's server certificate, in the data folder of this machine");
  tls
    .command('show')
    .description('what devices verify: CA, names, fingerprint, pin, and when it ends')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) =>
      print(context, readTlsMaterial(tlsOptions(context.settings())), json),
    );
  tls
    .command('renew')
    .description(
      'a new server certificate from the site CA, for the same key; a running broker takes it up within a minute',
    )
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const options = tlsOptions(context.settings());
      if (options.own !== undefined)
        throw new UsageError(
          'CVM_TLS_CERT is your own certificate: put a new one in its place, and a running broker takes it up within a minute',
        );
      print(context, await renewTlsMaterial(options), json);
    });
  return tls;
}

function print({ write }: TlsContext, material: TlsMaterial, json = false): void {
  const { fingerprint, spkiPin, names, notAfter, caFile, caFingerprint } = material;
  const shown = { names, notAfter: notAfter.toISOString(), fingerprint, spkiPin, caFile, caFingerprint };
  if (json) write(JSON.stringify(shown));
  else
    for (const [name, value] of Object.entries(shown))
      if (value !== undefined) write(`${name.padEnd(15)}${Array.isArray(value) ? value.join(' ') : value}`);
}

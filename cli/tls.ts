import { Command } from 'commander';
import type { Settings } from '../runtime/settings.ts';
import { gatewayIdIn } from '../site-tls/gateway-key.ts';
import { type TlsMaterial, tlsOptions } from '../site-tls/material.ts';
import { beginRotation, cancelRotation, finishRotation } from '../site-tls/rotation.ts';
import { readTlsMaterial, renewTlsMaterial } from '../site-tls/site-ca.ts';
import { addGatewayCommands, type GatewaysContext } from './gateways.ts';
import { UsageError } from './program.ts';

export type TlsContext = GatewaysContext & { settings(): Settings };

export function tlsCommand(context: TlsContext): Command {
  const tls = new Command('tls').description(
    "the broker's keys: its server certificate, and that by which devices are enrolled for it",
  );
  tls
    .command('show')
    .description('what devices verify: CA, names, fingerprint, pin, and when it ends; and the id of this gateway')
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
  tls
    .command('rotate-ca')
    .description(
      'replace the site CA: first publish the next one beside it, give both to the devices, then change over with --finish',
    )
    .option('--finish', 'the next CA takes over; devices that know only the old one no longer trust the gateway')
    .option('--cancel', 'forget the next CA')
    .option('--json', 'as JSON')
    .action(async ({ finish, cancel, json }: { finish?: boolean; cancel?: boolean; json?: boolean }) => {
      const options = tlsOptions(context.settings());
      if (finish && cancel) throw new UsageError('--finish and --cancel exclude each other');
      if (options.own !== undefined)
        throw new UsageError('CVM_TLS_CERT is your own certificate, and its CA is not the site CA');
      if (finish) print(context, await finishRotation(options), json);
      else if (cancel) print(context, await cancelRotation(options), json);
      else {
        const material = await beginRotation(options);
        print(context, material, json);
        console.error(`Give ${material.caFile} to the devices: both CAs are in it. Then: cvm tls rotate-ca --finish`);
      }
    });
  addGatewayCommands(tls, context);
  return tls;
}

function print({ settings, write }: TlsContext, material: TlsMaterial, json = false): void {
  const { fingerprint, spkiPin, names, notAfter, caFile, caFingerprint, nextCaFingerprint } = material;
  const shown = {
    names,
    notAfter: notAfter.toISOString(),
    fingerprint,
    spkiPin,
    caFile,
    caFingerprint,
    nextCaFingerprint,
    gateway: gatewayIdIn(settings().dataDir),
  };
  if (json) write(JSON.stringify(shown));
  else
    for (const [name, value] of Object.entries(shown))
      if (value !== undefined) write(`${name.padEnd(19)}${Array.isArray(value) ? value.join(' ') : value}`);
}

import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import type { Settings } from '../runtime/settings.ts';
import { gatewayIdIn } from '../site-tls/gateway-key.ts';
import { chainsOf, type TlsChain, type TlsMaterial, tlsOptions } from '../site-tls/material.ts';
import { beginRotation, cancelRotation, finishRotation } from '../site-tls/rotation.ts';
import { readTlsMaterial, renewTlsMaterial } from '../site-tls/site-ca.ts';
import { pinnedTableKey } from '../site-tls/table-key.ts';
import { pointOf, readTimePublicKey, timeKeyPin } from '../site-tls/time-key.ts';
import { withKnownFolder } from './data-folder.ts';
import { addGatewayCommands, type GatewaysContext } from './gateways.ts';
import { UsageError } from './usage-error.ts';

export type TlsContext = GatewaysContext & { settings(): Promise<Settings> };

export function tlsCommand(given: TlsContext): Command {
  const context = { ...given, settings: withKnownFolder(given.settings) };
  const tls = new Command('tls');
  tls
    .command('show')
    .description(
      'the server certificate that devices verify: names, validity, fingerprint, pin, CA; the id of this gateway, the key of the table that it trusts, and the pin of the key that signs the time',
    )
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) =>
      print(context, readTlsMaterial(tlsOptions(await context.settings())), json),
    );
  tls
    .command('ca')
    .description(
      'print the site CA in PEM, for devices to verify the broker with; while it is replaced (rotate-ca), the old and the next one',
    )
    .option('--rsa', 'the one of the RSA certificate, where CVM_TLS_KEY_TYPE is both')
    .action(async ({ rsa }: { rsa?: boolean }) => {
      const options = tlsOptions(await context.settings());
      if (options.own !== undefined)
        throw new UsageError('CVM_TLS_CERT is your own certificate, and its CA is not the site CA');
      const chains = chainsOf(readTlsMaterial(options));
      const chain = rsa ? chains.find(({ keyType }) => keyType === 'rsa') : chains[0];
      if (chain?.caFile === undefined) throw new UsageError('there is no RSA certificate: CVM_TLS_KEY_TYPE is ec');
      context.write(readFileSync(chain.caFile, 'utf8').trimEnd());
    });
  tls
    .command('time-key')
    .description('print the public key that signs the time, in PEM, for devices without a clock to verify it with')
    .option('--hex', 'its point in hex: 65 bytes, 04 first, for firmware that takes a key so')
    .action(async ({ hex }: { hex?: boolean }) => {
      const pem = readTimePublicKey((await context.settings()).dataDir);
      context.write(hex ? pointOf(pem).toString('hex') : pem.trimEnd());
    });
  tls
    .command('renew')
    .description('make a new server certificate for the same key; a running broker uses it within a minute')
    .option('--json', 'as JSON')
    .action(async ({ json }: { json?: boolean }) => {
      const options = tlsOptions(await context.settings());
      if (options.own !== undefined)
        throw new UsageError(
          'CVM_TLS_CERT is your own certificate: replace the file, and a running broker uses it within a minute',
        );
      await print(context, await renewTlsMaterial(options), json);
    });
  tls
    .command('rotate-ca')
    .description('replace the site CA: make the next one, give both to the devices, then change over with --finish')
    .option('--finish', 'use the next CA from now on; devices that know only the old one no longer trust the gateway')
    .option('--cancel', 'delete the next CA')
    .option('--json', 'as JSON')
    .action(async ({ finish, cancel, json }: { finish?: boolean; cancel?: boolean; json?: boolean }) => {
      const options = tlsOptions(await context.settings());
      if (finish && cancel) throw new UsageError('--finish and --cancel cannot be used together');
      if (options.own !== undefined)
        throw new UsageError('CVM_TLS_CERT is your own certificate, and its CA is not the site CA');
      if (finish) await print(context, await finishRotation(options), json);
      else if (cancel) await print(context, await cancelRotation(options), json);
      else {
        const material = await beginRotation(options);
        await print(context, material, json);
        const files = chainsOf(material).map(({ caFile }) => caFile);
        console.error(
          `Give ${files.join(', or ')} to the devices: it has both CAs, the old and the next. Then run: cvm tls rotate-ca --finish`,
        );
      }
    });
  addGatewayCommands(tls, context);
  return tls;
}

async function print({ settings, write }: TlsContext, material: TlsMaterial, json = false): Promise<void> {
  const { dataDir } = await settings();
  const [first, beside] = chainsOf(material);
  const shown = {
    ...(first && shownOf(first)),
    beside: beside && shownOf(beside),
    gateway: gatewayIdIn(dataDir),
    table: pinnedTableKey(dataDir),
    timeKey: timeKeyPin(dataDir),
  };
  if (json) write(JSON.stringify(shown));
  else writeLines(write, shown);
}

function shownOf(chain: TlsChain) {
  const { keyType, names, fingerprint, spkiPin, caFile, caFingerprint, nextCaFingerprint } = chain;
  return {
    keyType,
    names,
    notBefore: chain.notBefore.toISOString(),
    notAfter: chain.notAfter.toISOString(),
    fingerprint,
    spkiPin,
    caFile,
    caFingerprint,
    caNotBefore: chain.caNotBefore?.toISOString(),
    caNotAfter: chain.caNotAfter?.toISOString(),
    nextCaFingerprint,
  };
}

/** A line for each value; `beside.fingerprint` is that of the second chain. */
function writeLines(write: TlsContext['write'], shown: object, prefix = ''): void {
  for (const [name, value] of Object.entries(shown)) {
    if (Array.isArray(value)) write(`${(prefix + name).padEnd(26)}${value.join(' ')}`);
    else if (typeof value === 'object') writeLines(write, value, `${name}.`);
    else if (value !== undefined) write(`${(prefix + name).padEnd(26)}${value}`);
  }
}

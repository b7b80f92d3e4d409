import type { Command } from 'commander';
import { approveGateway, forgetGateway } from '../operator/gateways.ts';
import type { Gateways } from '../registry/gateways.ts';
import { signingKeyFrom } from '../sealing/signing.ts';
import type { Audit } from '../telemetry/audit-events.ts';

export type GatewaysContext = {
  table(): { readonly gateways: Pick<Gateways, 'known' | 'approve' | 'forget' | 'findSigningSeed'> };
  audit(): Audit;
  write(line: string): void;
};

const isListedAgain =
  'is listed, as waiting, when one of its devices asks, or within the hour; soon after a restart of its broker';

type Options = { json?: boolean };

/** Commands about the gateways that the table trusts. They need the table, and no running gateway. */
export function addGatewayCommands(tls: Command, { table, audit, write }: GatewaysContext): void {
  const unknown = (id: string) =>
    new Error(
      `no gateway ${id} is known; cvm tls gateways lists them. One that is new or was forgotten ${isListedAgain}`,
    );
  tls
    .command('gateways')
    .description('list the gateways of the table: id, approved or waiting, when it was last seen')
    .option('--json', 'one JSON object a line, each with the key of the table')
    .action(async ({ json }: Options) => {
      const { gateways } = table();
      const seed = await gateways.findSigningSeed();
      const tableKey = seed === undefined ? undefined : signingKeyFrom(Buffer.from(seed, 'hex')).publicKey;
      for (const { id, state, seenAt } of await gateways.known()) {
        const seen = new Date(seenAt).toISOString();
        write(
          json
            ? JSON.stringify({ id, state, seenAt: seen, table: tableKey })
            : `${id}  ${state.padEnd(8)}  seen ${seen}`,
        );
      }
      if (tableKey !== undefined && !json) console.error(`cvm tls show at each gateway must print: table ${tableKey}`);
    });
  tls
    .command('approve <id>')
    .description('trust this gateway, and enrol devices for it: compare the id with cvm tls show at the gateway first')
    .option('--json', 'as JSON')
    .action(async (id: string, { json }: Options) => {
      const { outcome } = await approveGateway(id, { gateways: table().gateways, audit: audit() });
      if (outcome === 'unknown') throw unknown(id);
      write(json ? JSON.stringify({ approved: id }) : `${id}  approved`);
      if (outcome === 'was-approved') return;
      console.error(
        'Its devices are served from now on. Devices that were enrolled before, and use TLS-PSK, need cvm devices reissue to use it here.',
      );
    });
  tls
    .command('forget-gateway <id>')
    .description('trust this gateway no more, and enrol no device for it: its key was stolen, or the gateway is gone')
    .option('--json', 'as JSON')
    .action(async (id: string, { json }: Options) => {
      const { outcome } = await forgetGateway(id, { gateways: table().gateways, audit: audit() });
      if (outcome === 'unknown') throw unknown(id);
      write(json ? JSON.stringify({ forgotten: id }) : `${id}  forgotten`);
      console.error(
        `Within ten seconds no worker takes its requests. If it still runs, it ${isListedAgain}. If its key was stolen, run cvm devices reissue for each device that has not acknowledged its certificate: those for which cvm devices show prints no deliveredAt.`,
      );
    });
}

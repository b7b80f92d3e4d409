import type { Command } from 'commander';
import { approveGateway, countWithoutKeys, forgetGateway } from '../operator/gateways.ts';
import type { Devices } from '../registry/devices.ts';
import type { Gateways } from '../registry/gateways.ts';
import { counted } from '../runtime/counted.ts';
import { signingKeyFrom } from '../sealing/signing.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { CommandFailed } from './complaint.ts';
import { type Column, plainRow, type Terminal, tableLines } from './table.ts';

export type GatewaysContext = {
  table(): Promise<{
    readonly gateways: Pick<Gateways, 'known' | 'approve' | 'forget' | 'findSigningSeed'>;
    readonly registry: Pick<Devices, 'list'>;
  }>;
  audit(): Promise<Audit>;
  write(line: string): void;
  readonly terminal?: Terminal | undefined;
};

const isListedAgain =
  'is listed, as waiting, when one of its devices asks, or within the hour; soon after a restart of its broker';

type Options = { json?: boolean };

const columns: readonly Column[] = [
  { title: 'GATEWAY' },
  { title: 'STATE', colour: (state) => (state === 'approved' ? 'green' : 'yellow') },
  { title: 'SEEN' },
  { title: 'SITE', cut: true },
];

type Known = {
  readonly id: string;
  readonly state: string;
  readonly seenAt: string;
  readonly site?: string | undefined;
};

function linesOf(known: readonly Known[], terminal: Terminal | undefined): string[] {
  if (terminal !== undefined && known.length > 0)
    return tableLines(
      columns,
      known.map(({ id, state, seenAt, site = '' }) => [id, state, seenAt, site]),
      terminal,
    );
  return known.map(({ id, state, seenAt, site }) =>
    plainRow([id, state, `seen ${seenAt}`, ...(site === undefined ? [] : [`site ${site}`])], [0, 8]),
  );
}

/** Commands about the gateways that the table trusts. They need the table, and no running gateway. */
export function addGatewayCommands(tls: Command, { table, audit, write, terminal }: GatewaysContext): void {
  const unknown = (id: string) =>
    new CommandFailed(
      `no gateway ${id} is known`,
      `cvm tls gateways lists them. One that is new or was forgotten ${isListedAgain}`,
    );
  tls
    .command('gateways')
    .description('list the gateways of the table: id, approved or waiting, when it was last seen')
    .option('--json', 'one JSON object a line, each with the key of the table')
    .action(async ({ json }: Options) => {
      const { gateways } = await table();
      const seed = await gateways.findSigningSeed();
      const tableKey = seed === undefined ? undefined : signingKeyFrom(Buffer.from(seed, 'hex')).publicKey;
      const known = (await gateways.known()).map((each) => ({ ...each, seenAt: new Date(each.seenAt).toISOString() }));
      if (json)
        for (const { id, state, site, seenAt } of known)
          write(JSON.stringify({ id, state, site, seenAt, table: tableKey }));
      else for (const line of linesOf(known, terminal)) write(line);
      if (tableKey !== undefined && !json) console.error(`cvm tls show at each gateway must print: table ${tableKey}`);
    });
  tls
    .command('approve <id>')
    .description('trust this gateway, and enrol devices for it: compare the id with cvm tls show at the gateway first')
    .option('--json', 'as JSON')
    .action(async (id: string, { json }: Options) => {
      const { outcome } = await approveGateway(id, { gateways: (await table()).gateways, audit: await audit() });
      if (outcome === 'unknown') throw unknown(id);
      write(json ? JSON.stringify({ approved: id }) : `${id}  approved`);
      if (outcome === 'was-approved') return;
      console.error('Its devices are served from now on.');
      const known = (await (await table()).gateways.known()).find((gateway) => gateway.id === id);
      const count = await countWithoutKeys(known ?? { id }, await table());
      if (count === 0) return;
      console.error(
        `${counted(count, 'device')} that can still use a token ${count === 1 ? 'was' : 'were'} enrolled before, without keys for this gateway: where such a device uses TLS-PSK here, run cvm devices reissue SERIAL, and give it the new token. With the token in a message it needs no new one.`,
      );
    });
  tls
    .command('forget-gateway <id>')
    .description('trust this gateway no more, and enrol no device for it: its key was stolen, or the gateway is gone')
    .option('--json', 'as JSON')
    .action(async (id: string, { json }: Options) => {
      const { outcome } = await forgetGateway(id, { gateways: (await table()).gateways, audit: await audit() });
      if (outcome === 'unknown') throw unknown(id);
      write(json ? JSON.stringify({ forgotten: id }) : `${id}  forgotten`);
      console.error(
        `Within ten seconds no worker takes its requests. If it still runs, it ${isListedAgain}. If its key was stolen, run cvm devices reissue for each device that has not acknowledged its certificate: those for which cvm devices show prints no deliveredAt.`,
      );
    });
}

import type { Command } from 'commander';
import { forgetGateway } from '../operator/gateways.ts';
import type { Gateways } from '../registry/gateways.ts';
import type { Audit } from '../telemetry/audit-events.ts';

export type GatewaysContext = {
  table(): { readonly gateways: Pick<Gateways, 'known' | 'forget'> };
  audit(): Audit;
  write(line: string): void;
  now(): number;
};

/** Commands about the gateways to which the keys of new tokens are sealed. They need the table, and no running gateway. */
export function addGatewayCommands(tls: Command, { table, audit, write, now }: GatewaysContext): void {
  tls
    .command('gateways')
    .description('list the gateways that devices are enrolled for: the id of its key, and when it was last seen')
    .option('--json', 'one JSON object a line')
    .action(async ({ json }: { json?: boolean }) => {
      for (const { id, seenAt } of await table().gateways.known(now())) {
        const seen = new Date(seenAt).toISOString();
        write(json ? JSON.stringify({ id, seenAt: seen }) : `${id}  seen ${seen}`);
      }
    });
  tls
    .command('forget-gateway <id>')
    .description('enrol devices for this gateway no more: its key was stolen, or the gateway is gone')
    .option('--json', 'as JSON')
    .action(async (id: string, { json }: { json?: boolean }) => {
      const { outcome } = await forgetGateway(id, { gateways: table().gateways, audit: audit(), now });
      if (outcome === 'unknown') throw new Error(`no gateway ${id} is known; cvm tls gateways lists them`);
      write(json ? JSON.stringify({ forgotten: id }) : `${id}  forgotten`);
      console.error(
        'If a gateway still runs with this key, it announces the key again within the hour, and is known again: stop it or give it a new key, and then forget the old one. Then run cvm devices reissue for each device that has not acknowledged its certificate: those for which cvm devices show prints no deliveredAt.',
      );
    });
}

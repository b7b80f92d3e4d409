import type { Command } from 'commander';
import { forgetGateway } from '../operator/gateways.ts';
import type { Gateways } from '../registry/gateways.ts';
import type { Audit } from '../telemetry/audit-events.ts';

export type GatewaysContext = {
  gateways(): Pick<Gateways, 'known' | 'forget'>;
  audit(): Audit;
  write(line: string): void;
  now(): number;
};

/** Where the keys of the gateways are looked after that devices are enrolled for. They need the table, and no gateway. */
export function addGatewayCommands(tls: Command, { gateways, audit, write, now }: GatewaysContext): void {
  tls
    .command('gateways')
    .description('the gateways that devices are enrolled for, by the id of their key, and when each was last seen')
    .option('--json', 'as JSON, one line each')
    .action(async ({ json }: { json?: boolean }) => {
      for (const { id, seenAt } of await gateways().known(now())) {
        const seen = new Date(seenAt).toISOString();
        write(json ? JSON.stringify({ id, seenAt: seen }) : `${id}  seen ${seen}`);
      }
    });
  tls
    .command('forget-gateway <id>')
    .description('enrol no more devices for that key: it was stolen, or its gateway is gone')
    .option('--json', 'as JSON')
    .action(async (id: string, { json }: { json?: boolean }) => {
      const { outcome } = await forgetGateway(id, { gateways: gateways(), audit: audit(), now });
      if (outcome === 'unknown') throw new Error(`no gateway ${id} is known; cvm tls gateways lists them`);
      write(json ? JSON.stringify({ forgotten: id }) : `${id}  forgotten`);
      console.error(
        'A gateway that still runs with this key introduces itself again within the hour, and is back: stop it, or give it a new key, and then forget this one. Devices that have not been served yet: cvm devices reissue.',
      );
    });
}

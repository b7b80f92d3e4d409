import { until } from './network.ts';

type Started = {
  /** runs `cvm` with these arguments */
  command(argv: readonly string[], env?: NodeJS.ProcessEnv): Promise<{ readonly stdout: string }>;
  /** of the gateway's broker */
  readonly dataDir: string;
};

/**
 * Resolves when the table trusts this gateway. The first one of a table is approved by itself; each further one is approved
 * here, as an operator would: by the id that it shows.
 */
export async function approveGateway({ command, dataDir }: Started): Promise<void> {
  const shown = await command(['tls', 'show', '--json'], { CVM_DATA_DIR: dataDir });
  const { gateway: gatewayId } = JSON.parse(shown.stdout) as { gateway: string };
  await until(
    async () => {
      const listed = await command(['tls', 'gateways', '--json']);
      const lines = listed.stdout.split('\n').filter((line) => line !== '');
      const known = lines.map((line) => JSON.parse(line) as { id: string; state: string });
      const own = known.find(({ id }) => id === gatewayId);
      if (own?.state === 'approved') return true;
      const others = known.some(({ id }) => id !== gatewayId);
      if (own !== undefined && others) await command(['tls', 'approve', gatewayId]);
      return false;
    },
    45_000,
    `gateway ${gatewayId} is approved`,
  );
}

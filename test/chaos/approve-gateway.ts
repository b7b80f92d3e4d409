import type { run } from './processes.ts';

/** `command` runs `cvm` with these arguments; `dataDir`: of the gateway's broker, whose id `cvm tls show` tells. */
export type NewGateway = {
  command(argv: readonly string[], env?: NodeJS.ProcessEnv): ReturnType<typeof run>;
  readonly dataDir: string;
};

/** Where an operator lets a further gateway of a table vend. Today a gateway needs no approval, so there is nothing to do. */
export async function approveGateway(_gateway: NewGateway): Promise<void> {}

import type { ChainableCommander } from 'ioredis';

/**
 * Runs a transaction. Where Redis refuses a command while it is queued (memory full, no permission, a replica), EXEC says only that the
 * transaction was discarded, and ioredis has the reasons beside that.
 * @throws the error of the first command that was refused or failed
 */
export async function execAll(transaction: ChainableCommander): Promise<void> {
  const results = await transaction.exec().catch((error: Error & { previousErrors?: readonly Error[] }) => {
    throw error.previousErrors?.[0] ?? error;
  });
  for (const [error] of results ?? []) if (error) throw error;
}

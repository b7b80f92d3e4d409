import { randomBytes } from 'node:crypto';
import type { Gateways } from '../registry/gateways.ts';
import { type SigningKey, signingKeyFrom } from '../sealing/signing.ts';

const seedBytes = 32;

/** The key with which workers sign for the table. The table keeps its seed, and the first worker makes it. @throws while the table is away */
export function createTableKey(gateways: Pick<Gateways, 'signingSeed'>): () => Promise<SigningKey> {
  let loading: Promise<SigningKey> | undefined;
  async function load(): Promise<SigningKey> {
    const seed = await gateways.signingSeed(randomBytes(seedBytes).toString('hex'));
    return signingKeyFrom(Buffer.from(seed, 'hex'));
  }
  return () => {
    loading ??= load().catch((error: unknown) => {
      loading = undefined;
      throw error;
    });
    return loading;
  };
}

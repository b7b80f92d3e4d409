import { generateKeyPair } from 'node:crypto';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

export type RsaPair = { publicKey: string; privateKey: string };

/**
 * RSA-2048 key pairs. One costs 50–100 ms of CPU, which AWS pays on its own machines: a load test that wants to measure
 * the gateway and not this may ask for a pool that is filled beforehand.
 */
export function createKeyPool(size: number) {
  const ready: Promise<RsaPair>[] = [];
  const fill = async () => {
    // one at a time, so that filling the pool does not slow down calls that wait
    while (ready.length < size) {
      const pair = make();
      ready.push(pair);
      await pair;
    }
  };
  const filled = fill();
  return { filled, take: (): Promise<RsaPair> => ready.shift() ?? make() };
}

export type KeyPool = ReturnType<typeof createKeyPool>;

async function make(): Promise<RsaPair> {
  return generate('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });
}

import { generateKeyPair, randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

const generate = promisify(generateKeyPair);

export type RsaPair = { publicKey: string; privateKey: string };

/** RSA-2048, PEM. One costs 50–200 ms of CPU. */
export const makeRsaPair = (): Promise<RsaPair> =>
  generate('rsa', {
    modulusLength: 2048,
    publicKeyEncoding: { type: 'spki', format: 'pem' },
    privateKeyEncoding: { type: 'pkcs1', format: 'pem' },
  });

/**
 * Hands out the pairs kept in a folder, in their order, and makes and keeps the missing ones. Tests start dozens of
 * stand-ins, which share one folder. Only tests may do so: a private key that others have protects nothing. Here it only
 * opens the data plane of a stand-in.
 *
 * AWS never hands out a pair twice, so one stand-in does not either: its data folder has the number of pairs handed out.
 */
export function keptRsaPairs(folder: string, dataDir: string): () => Promise<RsaPair> {
  for (const each of [folder, dataDir]) mkdirSync(each, { recursive: true, mode: 0o700 });
  const counter = join(dataDir, 'rsa-pairs-handed-out');
  let handedOut = existsSync(counter) ? Number(readFileSync(counter, 'utf8')) : 0;
  return async () => {
    const file = join(folder, `${handedOut++}.json`);
    writeFileSync(counter, String(handedOut), { mode: 0o600 });
    if (existsSync(file)) return JSON.parse(readFileSync(file, 'utf8'));
    const pair = await makeRsaPair();
    // another stand-in must never read half a file
    const written = `${file}.${randomUUID()}`;
    writeFileSync(written, JSON.stringify(pair), { mode: 0o600 });
    renameSync(written, file);
    return pair;
  };
}

/**
 * Key pairs made in advance. AWS makes them on its own machines: a load test that measures the gateway, and not the
 * stand-in, asks for as many as it has devices.
 */
export function createKeyPool(size: number, makePair: () => Promise<RsaPair>) {
  const pairs: Promise<RsaPair>[] = [];
  let made = 0;
  const fill = async () => {
    // one at a time, so that filling the pool does not slow down calls that wait; and no more: a test that runs would pay for them
    for (let begun = 0; begun < size; begun++) {
      const pair = makePair();
      pairs.push(pair);
      await pair;
      made++;
    }
  };
  const filled = fill();
  return {
    filled,
    /** how many pairs were made in advance, until now */
    made: () => made,
    take: (): Promise<RsaPair> => pairs.shift() ?? makePair(),
  };
}

export type KeyPool = ReturnType<typeof createKeyPool>;

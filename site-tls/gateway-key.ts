import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gatewayIdOf } from '../sealing/device-keys.ts';
import { type KeyPair, newKeyPair, pairFrom } from '../sealing/hpke.ts';
import { readKey, withFolderLock, writeFileAtomic } from './key-file.ts';

/**
 * This gateway's own key pair (X25519), to which devices' keys are sealed when they are enrolled. Made at the first start;
 * lost, the devices enrolled for it cannot use TLS-PSK here until they are reissued.
 */
export async function loadGatewayKey(dataDir: string): Promise<KeyPair> {
  const folder = join(dataDir, 'tls');
  const file = join(folder, 'gateway.key');
  return withFolderLock(folder, () => {
    if (existsSync(file)) return read(file);
    const pair = newKeyPair();
    writeFileAtomic(file, pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), 0o600);
    return pair;
  });
}

/** The id of the key that is there, under which others know this gateway; undefined before the first start. */
export function gatewayIdIn(dataDir: string): string | undefined {
  const file = join(dataDir, 'tls', 'gateway.key');
  return existsSync(file) ? gatewayIdOf(read(file).publicKey) : undefined;
}

function read(file: string): KeyPair {
  const key = createPrivateKey(readKey(file));
  if (key.asymmetricKeyType === 'x25519') return pairFrom(key);
  throw new Error(`${file} is not an X25519 key; bring it back from a backup, or remove it to make a new one`);
}

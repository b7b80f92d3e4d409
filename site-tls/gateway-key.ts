import { createPrivateKey } from 'node:crypto';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { gatewayIdOf } from '../sealing/device-keys.ts';
import { type KeyPair, newKeyPair, pairFrom } from '../sealing/hpke.ts';
import { withFolderLock, writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';

/**
 * This gateway's own key pair (X25519). When devices are enrolled, their keys are sealed to it. It is made at the first
 * start. If it is lost, devices that were enrolled for it cannot use TLS-PSK here until they are reissued.
 */
export async function loadGatewayKey(dataDir: string): Promise<KeyPair> {
  const folder = join(dataDir, 'tls');
  const file = join(folder, 'gateway.key');
  return withFolderLock(folder, () => {
    if (existsSync(file)) return readGatewayKey(file);
    const pair = newKeyPair();
    writeFileAtomic(file, pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), 0o600);
    return pair;
  });
}

/** The id of this gateway's key, which stands in the table; undefined before the first start. */
export function gatewayIdIn(dataDir: string): string | undefined {
  const file = join(dataDir, 'tls', 'gateway.key');
  return existsSync(file) ? gatewayIdOf(readGatewayKey(file).publicKey) : undefined;
}

function readGatewayKey(file: string): KeyPair {
  const key = createPrivateKey(readKey(file));
  if (key.asymmetricKeyType === 'x25519') return pairFrom(key);
  throw new Error(`${file} is not an X25519 key; restore it from a backup, or remove it to make a new one`);
}

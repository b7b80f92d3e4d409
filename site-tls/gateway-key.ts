import { createPrivateKey } from 'node:crypto';
import { join } from 'node:path';
import { isThere } from '../runtime/is-there.ts';
import { type OwnGateway, ownGateway } from '../sealing/gateway.ts';
import { newKeyPair, pairFrom } from '../sealing/hpke.ts';
import { removeFile, withFolderLock, writeFileAtomic } from './files.ts';
import { readKey } from './key-file.ts';

/**
 * This gateway's own keys, from one file. When devices are enrolled, their keys are sealed to it (X25519); it signs what it
 * puts into Redis (Ed25519, derived from the former). The file is made at the first start. If it is lost, the gateway needs
 * another approval, and devices that were enrolled for it cannot use TLS-PSK here until they are reissued.
 */
export async function loadGateway(dataDir: string): Promise<OwnGateway> {
  const folder = join(dataDir, 'tls');
  const file = join(folder, 'gateway.key');
  return withFolderLock(folder, () => {
    if (isThere(file)) return readGateway(file);
    const pair = newKeyPair();
    // before the key: a gateway that is killed in between is a new one, too
    writeFileAtomic(newGatewayFile(dataDir), `${notApprovedYet}\n`, 0o600);
    writeFileAtomic(file, pair.privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(), 0o600);
    return ownGateway(pair);
  });
}

const newGatewayFile = (dataDir: string): string => join(dataDir, 'tls', 'gateway.unapproved');
const notApprovedYet = 'This gateway has made its key, and has not heard yet that its table has approved it.';

/** Whether this gateway made its key, and has not heard since that the table has approved it. */
export function isNewGateway(dataDir: string): boolean {
  return isThere(newGatewayFile(dataDir));
}

/** Whether this folder is of a gateway that its table has approved, so that devices may know it. */
export function hasServed(dataDir: string): boolean {
  return isThere(join(dataDir, 'tls', 'gateway.key')) && !isNewGateway(dataDir);
}

/** The table has approved this gateway: from now on it is none that could be mistaken for another one. */
export function noteApproved(dataDir: string): void {
  removeFile(newGatewayFile(dataDir));
}

/** The id of this gateway, which an operator approves; undefined before the first start. */
export function gatewayIdIn(dataDir: string): string | undefined {
  const file = join(dataDir, 'tls', 'gateway.key');
  return isThere(file) ? readGateway(file).identity.id : undefined;
}

function readGateway(file: string): OwnGateway {
  const key = createPrivateKey(readKey(file));
  if (key.asymmetricKeyType === 'x25519') return ownGateway(pairFrom(key));
  throw new Error(`${file} is not an X25519 key; restore it from a backup, or remove it to make a new one`);
}

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { isThere } from '../runtime/is-there.ts';
import { withFolderLock, writeFileAtomic } from './files.ts';

/** The file that pins the table's key (Ed25519, base64url). It is public and no secret, but must not be changed. */
export const tableKeyFile = (dataDir: string): string => join(dataDir, 'tls', 'table.pub');

/** The key of the table that this gateway trusts; undefined before it has met one. */
export function pinnedTableKey(dataDir: string): string | undefined {
  const file = tableKeyFile(dataDir);
  return isThere(file) ? readFileSync(file, 'utf8').trim() : undefined;
}

/** Pins the table's key. @returns the one that is pinned now: another broker at this folder may have been first */
export async function pinTableKey(dataDir: string, publicKey: string): Promise<string> {
  return withFolderLock(join(dataDir, 'tls'), () => {
    const pinned = pinnedTableKey(dataDir);
    if (pinned !== undefined) return pinned;
    writeFileAtomic(tableKeyFile(dataDir), `${publicKey}\n`, 0o600);
    return publicKey;
  });
}

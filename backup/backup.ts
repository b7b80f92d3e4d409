import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { isThere } from '../runtime/is-there.ts';
import { productVersion } from '../runtime/version.ts';
import { dataFormat } from '../site-tls/data-format.ts';
import { withFolderLock } from '../site-tls/files.ts';
import { gatewayIdIn } from '../site-tls/gateway-key.ts';
import { BackupError } from './backup-error.ts';
import { createSealedFile, type SealedWriter } from './sealed-file.ts';
import { type SiteFile, type SitePlaces, siteFiles } from './site-files.ts';

/** The first entry of a backup. `site`, `gateway`: which of several it is of. */
export type Manifest = {
  readonly gateway: string | undefined;
  readonly site: string | undefined;
  readonly dataFormat: number;
  readonly withAudit: boolean;
  readonly withSettings: boolean;
};

export type BackupDone = { readonly files: readonly SiteFile[]; readonly manifest: Manifest };

/** The first characters of an entry: how long its description is. */
export const lengthBytes = 4;

/**
 * Seals what makes a gateway this gateway into one file. The gateway may run meanwhile.
 * @throws BackupError where there is no gateway, or the file is there already
 */
export async function backUp(
  file: string,
  passphrase: string,
  places: SitePlaces,
  { audit, site, now }: { readonly audit: boolean; readonly site: string | undefined; readonly now: Date },
): Promise<BackupDone> {
  const { dataDir } = places;
  const gateway = isThere(join(dataDir, 'tls')) ? gatewayIdIn(dataDir) : undefined;
  if (gateway === undefined)
    throw new BackupError(
      `there is no gateway in the data folder ${dataDir}: it has no gateway key`,
      'name the folder in CVM_DATA_DIR, or run this where the gateway runs; a gateway makes its key at its first start',
    );
  // a CA that is replaced at this moment would be in two halves
  return withFolderLock(join(dataDir, 'tls'), async () => {
    const files = siteFiles(places, { audit });
    const withSettings = files.some(({ path }) => path === 'settings');
    const manifest: Manifest = { gateway, site, dataFormat, withAudit: audit, withSettings };
    const head = { cvm: productVersion(), createdAt: now.toISOString() };
    const writer = await createSealedFile(file, passphrase, head);
    try {
      writeEntry(writer, { path: 'manifest', mode: 0o600 }, Buffer.from(JSON.stringify(manifest)));
      for (const each of files) writeFileEntry(writer, each);
    } catch (error) {
      writer.abandon();
      throw error;
    }
    writer.finish();
    return { files, manifest };
  });
}

function describe(entry: { path: string; mode: number; size: number }): Buffer {
  const described = Buffer.from(JSON.stringify(entry));
  const length = Buffer.alloc(lengthBytes);
  length.writeUInt32BE(described.length);
  return Buffer.concat([length, described]);
}

function writeEntry(writer: SealedWriter, entry: { path: string; mode: number }, content: Buffer): void {
  writer.write(describe({ ...entry, size: content.length }));
  writer.write(content);
}

/** As long as the file was when it was listed: the audit trail grows meanwhile. */
function writeFileEntry(writer: SealedWriter, { path, file, mode, size }: SiteFile): void {
  writer.write(describe({ path, mode, size }));
  const descriptor = openSync(file, 'r');
  try {
    const block = Buffer.alloc(64 * 1024);
    for (let left = size; left > 0; ) {
      const got = readSync(descriptor, block, 0, Math.min(block.length, left), null);
      if (got === 0) throw new BackupError(`${file} became shorter while it was read`, 'run the same command again');
      writer.write(Buffer.from(block.subarray(0, got)));
      left -= got;
    }
  } finally {
    closeSync(descriptor);
  }
}

import type { Settings } from '../runtime/settings.ts';

/**
 * The settings for a command that uses files of the data folder.
 * @throws NewerFormatError at each call where a later version has changed the folder, which is left alone then
 */
export function withKnownFolder(settings: () => Promise<Settings>): () => Promise<Settings> {
  return async () => {
    const read = await settings();
    const { checkDataFolder } = await import('../site-tls/data-format.ts');
    checkDataFolder(read.dataDir);
    return read;
  };
}

import { statSync } from 'node:fs';

/**
 * Whether a file or a folder is there. `existsSync` says no also where this user may not look, or the disk fails, and "it was never made"
 * would be the wrong conclusion.
 * @throws when it cannot be told
 */
export const isThere = (path: string): boolean => statSync(path, { throwIfNoEntry: false }) !== undefined;

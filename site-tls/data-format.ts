import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isThere } from '../runtime/is-there.ts';
import { NewerFormatError } from '../runtime/newer-format.ts';
import { productVersion } from '../runtime/version.ts';
import { writeFileAtomic } from './files.ts';

/** The form of the data folder that this version reads and writes. Raised when an earlier version must not use the folder any more. */
export const dataFormat = 1;

const stored = z.object({ format: z.int().min(1), by: z.string().optional() });

const fileIn = (dataDir: string) => join(dataDir, 'format.json');

/**
 * Marks a data folder with the form that it has, where it has no mark: a new one, or one of a version before 0.2.0, which wrote none and has the
 * same form.
 * @throws NewerFormatError where a later version has changed the folder, and an error where a restore into it was not finished
 */
export function claimDataFolder(dataDir: string): void {
  if (checkDataFolder(dataDir) === 'without-mark') mark(dataDir);
}

/**
 * The same for a command that uses the folder for a moment: it marks nothing, and makes no folder.
 * @throws as `claimDataFolder` does
 */
export function checkDataFolder(dataDir: string): 'without-mark' | 'known' {
  if (existsSync(dataDir)) refuseHalfRestored(dataDir);
  const found = readDataFormat(dataDir);
  if (found === undefined) return 'without-mark';
  if (found.format > dataFormat)
    throw new NewerFormatError(`the data folder ${dataDir}`, { ...found, known: dataFormat });
  return 'known';
}

function mark(dataDir: string): void {
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileAtomic(fileIn(dataDir), `${JSON.stringify({ format: dataFormat, by: productVersion() })}\n`, 0o600);
  } catch {
    // a folder that cannot be written is reported by the part that needs it, with the name of the setting
  }
}

/** @returns undefined for a folder without a mark. @throws where the mark is damaged */
export function readDataFormat(dataDir: string): z.infer<typeof stored> | undefined {
  const file = fileIn(dataDir);
  if (!isThere(file)) return undefined;
  try {
    return stored.parse(JSON.parse(readFileSync(file, 'utf8')));
  } catch {
    throw new Error(
      `${file} is damaged: restore the data folder, or remove this file where no later version used the folder`,
    );
  }
}

/** Files of a backup wait in this folder until they are all there. */
export const restoringFolder = '.restoring';

function refuseHalfRestored(dataDir: string): void {
  if (!readdirSync(dataDir).includes(restoringFolder)) return;
  throw new Error(
    `a restore into the data folder ${dataDir} was not finished: empty the folder, ${restoringFolder} as well, and run cvm restore again`,
  );
}

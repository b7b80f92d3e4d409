import { createHash, randomBytes, randomInt, scrypt, timingSafeEqual } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { isThere } from '../runtime/is-there.ts';
import { withFolderLock, writeFileAtomic } from '../site-tls/files.ts';
import { type Role, roles } from './roles.ts';

/**
 * The passwords of the console, one for each role, as scrypt hashes in `console/passwords.json` of the data folder. They are made here, with
 * 80 random bits, and shown once: one that a person chose could be guessed.
 */

/** RFC 7914; 32 MiB and some 80 ms of CPU for each try. */
const cost = { N: 2 ** 15, r: 8, p: 1, maxmem: 64 * 1024 * 1024 };
const keyBytes = 32;

const storedPassword = z.object({
  N: z
    .int()
    .min(2)
    .max(2 ** 17),
  r: z.int().min(1).max(16),
  p: z.int().min(1).max(4),
  salt: z.string(),
  hash: z.string(),
});
const storedPasswords = z.object({ version: z.literal(1), passwords: z.partialRecord(z.enum(roles), storedPassword) });
type StoredPassword = z.infer<typeof storedPassword>;

/** The key that signs the sessions in Redis. It is made at the first start; without it, everybody signs in anew. */
export function loadSessionKey(dataDir: string): Buffer {
  const file = join(consoleFolder(dataDir), 'session.key');
  if (!isThere(file)) writeFileAtomic(file, randomBytes(32).toString('base64url'), 0o600);
  return Buffer.from(readFileSync(file, 'utf8'), 'base64url');
}

export const consoleFolder = (dataDir: string): string => join(dataDir, 'console');
export const passwordsFileIn = (dataDir: string) => join(consoleFolder(dataDir), 'passwords.json');

/** Makes the password of operators where there is none yet. @returns it, for the one time that it is shown */
export function ensurePassword(dataDir: string): Promise<string | undefined> {
  return withFolderLock(consoleFolder(dataDir), async () =>
    readPasswords(dataDir).operator === undefined ? writeNew(dataDir, 'operator') : undefined,
  );
}

/** Makes a new password for a role. The one before, and every session that it opened, end at once. @returns it */
export function resetPassword(dataDir: string, role: Role): Promise<string> {
  return withFolderLock(consoleFolder(dataDir), () => writeNew(dataDir, role));
}

/** The roles that have a password. @throws when the file is damaged */
export const rolesWithPassword = (dataDir: string): readonly Role[] =>
  roles.filter((role) => readPasswords(dataDir)[role] !== undefined);

/** Which role a password is of. Every stored one is tried, so the time does not tell. */
export async function roleOfPassword(dataDir: string, password: string): Promise<Role | undefined> {
  const stored = readPasswords(dataDir);
  let found: Role | undefined;
  for (const role of roles) {
    const kept = stored[role];
    if (kept !== undefined && (await fits(password, kept))) found ??= role;
  }
  return found;
}

/** Names the password of a role without telling it: a session of an earlier one has another mark. Empty where there is none. */
export function passwordMark(dataDir: string, role: Role): string {
  const hash = readPasswords(dataDir)[role]?.hash;
  return hash === undefined ? '' : createHash('sha256').update(hash).digest('base64url').slice(0, 16);
}

function readPasswords(dataDir: string): Readonly<Partial<Record<Role, StoredPassword>>> {
  const file = passwordsFileIn(dataDir);
  if (!isThere(file)) return {};
  const read = storedPasswords.safeParse(parse(readFileSync(file, 'utf8')));
  if (read.success) return read.data.passwords;
  throw new Error(`${file} is damaged: remove it, and run cvm console password --reset`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function writeNew(dataDir: string, role: Role): Promise<string> {
  const password = makePassword();
  const salt = randomBytes(16);
  const hash = await hashOf(password, salt, cost);
  const { N, r, p } = cost;
  const kept: StoredPassword = { N, r, p, salt: salt.toString('base64url'), hash: hash.toString('base64url') };
  const passwords = { ...readPasswords(dataDir), [role]: kept };
  writeFileAtomic(passwordsFileIn(dataDir), `${JSON.stringify({ version: 1, passwords }, undefined, 2)}\n`, 0o600);
  return password;
}

/** Without letters and digits that look alike. 31^16 is 79 bits. */
const alphabet = 'abcdefghjkmnpqrstuvwxyz23456789';
const makePassword = (): string =>
  Array.from({ length: 4 }, () => Array.from({ length: 4 }, () => alphabet[randomInt(alphabet.length)]).join('')).join(
    '-',
  );

async function fits(password: string, { N, r, p, salt, hash }: StoredPassword): Promise<boolean> {
  const expected = Buffer.from(hash, 'base64url');
  const found = await hashOf(password, Buffer.from(salt, 'base64url'), { N, r, p, maxmem: 256 * N * r });
  return found.length === expected.length && timingSafeEqual(found, expected);
}

function hashOf(password: string, salt: Buffer, options: typeof cost): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    // as a person types it: spaces around it, and capitals, are no part of it
    scrypt(password.trim().toLowerCase(), salt, keyBytes, options, (error, key) =>
      error ? reject(error) : resolve(key),
    );
  });
}

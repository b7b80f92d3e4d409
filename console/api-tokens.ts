import { createHash, randomBytes } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { withFolderLock, writeFileAtomic } from '../site-tls/files.ts';
import { isEqual } from './equal.ts';
import { consoleFolder } from './password.ts';
import { type Role, roles } from './roles.ts';

/**
 * API tokens, for programs, in `console/api-tokens.json` of the data folder. A token is `cvm_<id>_<secret>`; the file has the SHA-256 of the
 * secret, which has 256 random bits, so no slow hash is needed.
 */

const storedToken = z.object({
  id: z.string().regex(/^[A-Za-z0-9]{8}$/),
  name: z.string(),
  role: z.enum(roles),
  hash: z.string(),
  /** epoch milliseconds; `expiresAt` absent: it does not end */
  createdAt: z.number(),
  expiresAt: z.number().optional(),
});
const storedTokens = z.object({ version: z.literal(1), tokens: z.array(storedToken) });
type StoredToken = z.infer<typeof storedToken>;

export type ApiToken = Omit<StoredToken, 'hash'>;

/** A file that grew past this would be read at every call. */
const maxTokens = 100;

const fileIn = (dataDir: string) => join(consoleFolder(dataDir), 'api-tokens.json');
const tokenPattern = /^cvm_([A-Za-z0-9]{8})_([A-Za-z0-9_-]{43})$/;

export type CreatedToken =
  | { readonly outcome: 'created'; readonly token: string; readonly about: ApiToken }
  | { readonly outcome: 'exists' | 'too-many' };

/** @returns the token, which stands nowhere else */
export function createApiToken(
  dataDir: string,
  { name, role, lifetimeMs }: { readonly name: string; readonly role: Role; readonly lifetimeMs?: number | undefined },
  now: number,
): Promise<CreatedToken> {
  return withFolderLock(consoleFolder(dataDir), (): CreatedToken => {
    const tokens = readTokens(dataDir);
    if (tokens.some((token) => token.name === name)) return { outcome: 'exists' };
    if (tokens.length >= maxTokens) return { outcome: 'too-many' };
    const [id, secret] = [randomBytes(4).toString('hex'), randomBytes(32).toString('base64url')];
    const about = {
      id,
      name,
      role,
      createdAt: now,
      ...(lifetimeMs === undefined ? {} : { expiresAt: now + lifetimeMs }),
    };
    writeTokens(dataDir, [...tokens, { ...about, hash: hashOf(secret) }]);
    return { outcome: 'created', token: `cvm_${id}_${secret}`, about };
  });
}

export const listApiTokens = (dataDir: string): readonly ApiToken[] =>
  readTokens(dataDir).map(({ hash: _hash, ...about }) => about);

/** @param which id or name @returns the revoked one; undefined where there is none */
export function revokeApiToken(dataDir: string, which: string): Promise<ApiToken | undefined> {
  return withFolderLock(consoleFolder(dataDir), () => {
    const tokens = readTokens(dataDir);
    const revoked = tokens.find(({ id, name }) => id === which || name === which);
    if (revoked === undefined) return undefined;
    writeTokens(
      dataDir,
      tokens.filter((token) => token !== revoked),
    );
    const { hash: _hash, ...about } = revoked;
    return about;
  });
}

/** Finds the token of a call. The file is read again when it has changed, so a revoked token ends at once. */
export function createApiTokenReader(dataDir: string) {
  let known: { readonly mark: string; readonly tokens: readonly StoredToken[] } | undefined;
  const current = (): readonly StoredToken[] => {
    const mark = markOf(fileIn(dataDir));
    if (known?.mark !== mark) known = { mark, tokens: readTokens(dataDir) };
    return known.tokens;
  };
  return {
    /** Undefined for what is no valid token. */
    find(text: string, now: number): ApiToken | undefined {
      const [, id, secret = ''] = tokenPattern.exec(text) ?? [];
      const token = id === undefined ? undefined : current().find((each) => each.id === id);
      // of an unknown id as well, so the time of an answer does not tell which ids there are
      const fits = isEqual(hashOf(secret), token?.hash ?? hashOf(''));
      if (token === undefined || !fits) return undefined;
      return token.expiresAt !== undefined && token.expiresAt <= now ? undefined : token;
    },
  };
}

function readTokens(dataDir: string): readonly StoredToken[] {
  const file = fileIn(dataDir);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  try {
    return storedTokens.parse(JSON.parse(text)).tokens;
  } catch {
    throw new Error(`${file} is damaged: remove it, and make the API tokens anew`);
  }
}

function writeTokens(dataDir: string, tokens: readonly StoredToken[]): void {
  writeFileAtomic(fileIn(dataDir), `${JSON.stringify({ version: 1, tokens }, undefined, 2)}\n`, 0o600);
}

/** Changes with every write: each makes another file. */
function markOf(file: string): string {
  const found = statSync(file, { throwIfNoEntry: false });
  return found === undefined ? '' : `${found.ino} ${found.mtimeMs} ${found.size}`;
}

const hashOf = (secret: string) => createHash('sha256').update(secret).digest('base64url');

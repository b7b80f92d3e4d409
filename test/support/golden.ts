import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** Bytes of a message that never change: a line with what it is, then its bytes in hex, 32 a line. */
const fileOf = (name: string) => join(import.meta.dirname, '../golden', `${name}.hex`);

/**
 * The stored bytes of a message. With GOLDEN=write they are written first: for a message that is new, never for one that devices know.
 * @param name of its file, with its folder @param now its bytes at present
 */
export function golden(name: string, what: string, now: Buffer): Buffer {
  if (process.env.GOLDEN === 'write') {
    mkdirSync(join(fileOf(name), '..'), { recursive: true });
    writeFileSync(fileOf(name), `# ${what}\n${hexLines(now).join('\n')}\n`);
  }
  return readGolden(name);
}

/** The stored bytes of a message. */
export function readGolden(name: string): Buffer {
  return Buffer.from(readFileSync(fileOf(name), 'utf8').replace(/^#.*$|\s/gm, ''), 'hex');
}

const hexLines = (bytes: Buffer): string[] => bytes.toString('hex').match(/.{1,64}/g) ?? [];

import { writeSync } from 'node:fs';

const [stdout, pauseMs] = [1, 5];

/** A reader that has read enough (`cvm devices list | head`) closed the pipe. */
export class OutputClosed extends Error {}

/**
 * Writes one line to standard output, and returns when it is written: the line may be a token, which stands nowhere else.
 * @throws OutputClosed, or an error with the cause, when it cannot be written
 */
export const writeLine = (line: string): void => writeText(`${printable(line)}\n`);

/** Control characters, those that change the direction of a line, and the tags that no reader sees; not the ends of lines, and tabs. */
const unprintable = /(?![\n\t])[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu;
// biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of table.ts
const colour = /(\u001b\[(?:1|22|3[1236]|39)m)/;

/**
 * A row of the table, or a file, may have control characters in it, which would steer the terminal. In JSON they become
 * escapes, which mean the same. Elsewhere they become spaces.
 */
export function printable(line: string): string {
  if (line.search(unprintable) < 0) return line;
  if (/^\s*[[{]/.test(line)) return line.replace(unprintable, escaped);
  const parts = line.split(colour);
  return parts.map((part, index) => (index % 2 === 1 ? part : part.replace(unprintable, ' '))).join('');
}

const escaped = (character: string): string =>
  [...Array(character.length).keys()]
    .map((at) => `\\u${character.charCodeAt(at).toString(16).padStart(4, '0')}`)
    .join('');

/** The same for text that has its line ends. @throws as `writeLine` does */
export function writeText(text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0; at < bytes.length; ) at += writeSome(bytes, at);
}

function writeSome(bytes: Buffer, at: number): number {
  try {
    return writeSync(stdout, bytes, at);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'EPIPE') throw new OutputClosed('standard output was closed by its reader');
    if (code !== 'EAGAIN') throw new Error(`standard output cannot be written: ${message}`);
    // a pipe that is full, of a reader that is slow
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
    return 0;
  }
}

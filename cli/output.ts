import { writeSync } from 'node:fs';

const [stdout, pauseMs] = [1, 5];

/** A reader that has read enough (`cvm devices list | head`) closed the pipe. */
export class OutputClosed extends Error {}

/**
 * Writes one line to standard output, and returns when it is written: the line may be a token, which stands nowhere else.
 * @throws OutputClosed, or an error with the cause, when it cannot be written
 */
export const writeLine = (line: string): void => writeText(`${line}\n`);

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

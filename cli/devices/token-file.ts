import type { WriteStream } from 'node:fs';
import { open } from 'node:fs/promises';

/** For `--out`: tokens go to standard output. */
export const toStandardOutput = '-';

/**
 * The file that tokens are written to, or with `-` standard output. It is made for the first token, and must not be there
 * before: the tokens of an earlier import are never overwritten.
 */
export function openTokenFile(path: string, write: (line: string) => void) {
  let opening: Promise<WriteStream> | undefined;
  let hasHeader = false;
  return {
    /** The token is in the file when this resolves. */
    async add(serial: string, token: string): Promise<void> {
      const line = `${serial},${token}`;
      if (path === toStandardOutput) {
        if (!hasHeader) write(header);
        hasHeader = true;
        return write(line);
      }
      opening ??= begin(path);
      const stream = await opening;
      await new Promise<void>((resolve, reject) =>
        stream.write(`${line}\n`, (error) => (error ? reject(error) : resolve())),
      );
    },
    /** @returns the path, if the file was made */
    async close(): Promise<string | undefined> {
      const stream = await opening?.catch(() => undefined);
      if (stream === undefined) return undefined;
      await new Promise<void>((resolve) => stream.end(resolve));
      return path;
    },
  };
}

const header = 'serial,token';

async function begin(path: string): Promise<WriteStream> {
  const file = await open(path, 'wx', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw error.code === 'EEXIST'
      ? new Error(
          `${path} exists already, perhaps with tokens of an earlier import, and is not overwritten; name another file with --out`,
        )
      : error;
  });
  const stream = file.createWriteStream();
  // `add` reports a write that fails; without a listener the error would end the process as well
  stream.on('error', () => {});
  stream.write(`${header}\n`);
  return stream;
}

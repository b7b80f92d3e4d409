import { type FileHandle, open, stat } from 'node:fs/promises';
import type { KeptTokens } from '../../operator/import.ts';
import { createTextIndex } from '../../runtime/text-index.ts';

/** For `--out`: tokens go to standard output. */
export const toStandardOutput = '-';

export type TokenFile = KeptTokens & {
  /** @returns the path, if the file is there */
  close(): Promise<string | undefined>;
};

const header = 'serial,token\n';

/**
 * The file that tokens are written to, or with `-` standard output. It is made for the first token. A file that is there is continued: it has
 * the tokens of an import that was stopped.
 */
export async function openTokenFile(path: string, write: (line: string) => void): Promise<TokenFile> {
  if (path === toStandardOutput) return toOutput(write);
  const there = await continued(path);
  let opening = there === undefined ? undefined : Promise.resolve(there.file);
  const append = inBatches(async (text) => {
    opening ??= begin(path);
    const file = await opening;
    await file.appendFile(text);
    // on disk, and not only handed to the system: the row of the device is written next
    await file.datasync().catch(unlessNotAFile);
  });
  return {
    async find(serial) {
      const at = there?.lines.get(serial);
      return at === undefined || there === undefined ? undefined : tokenAt(there.file, at, serial);
    },
    add: (serial, token) => append(`${serial},${token}\n`),
    async close() {
      const file = await opening?.catch(() => undefined);
      await file?.close();
      return file === undefined ? undefined : path;
    },
  };
}

/** Reads the tokens of an earlier import, and changes nothing; a path where no file is has none. */
export async function readTokenFile(path: string): Promise<Pick<KeptTokens, 'find'> & { close(): Promise<void> }> {
  const file =
    path === toStandardOutput
      ? undefined
      : await open(path, 'r').catch((error: NodeJS.ErrnoException) => {
          if (error.code === 'ENOENT') return undefined;
          throw error;
        });
  if (file === undefined || !(await file.stat()).isFile()) {
    await file?.close();
    return { find: async () => undefined, close: async () => {} };
  }
  try {
    const { lines } = await indexLines(path, file);
    return {
      async find(serial) {
        const at = lines.get(serial);
        return at === undefined ? undefined : tokenAt(file, at, serial);
      },
      close: () => file.close(),
    };
  } catch (error) {
    await file.close();
    throw error;
  }
}

function toOutput(write: (line: string) => void): TokenFile {
  let hasHeader = false;
  return {
    find: async () => undefined,
    async add(serial, token) {
      if (!hasHeader) write(header.trimEnd());
      hasHeader = true;
      write(`${serial},${token}`);
    },
    close: async () => undefined,
  };
}

async function begin(path: string): Promise<FileHandle> {
  const file = await open(path, 'ax', 0o600).catch(async (error: NodeJS.ErrnoException) => {
    // a device or a pipe, such as /dev/stdout, is there already, and has nothing to lose
    if (error.code === 'EEXIST' && !(await stat(path)).isFile()) return open(path, 'a');
    throw error;
  });
  try {
    await file.appendFile(header);
  } catch (error) {
    // Node complains about a file that is left open, and newer versions end the process
    await file.close();
    throw error;
  }
  return file;
}

/** Joins the texts that come while one is written, and writes them at once. After a failure all fail: the file may end in half a line. */
function inBatches(write: (text: string) => Promise<void>): (text: string) => Promise<void> {
  let last: Promise<void> = Promise.resolve();
  let batch: { text: string; written: Promise<void> } | undefined;
  return (text) => {
    if (batch !== undefined) {
      batch.text += text;
      return batch.written;
    }
    const own = { text, written: last };
    own.written = last.then(() => {
      batch = undefined;
      return write(own.text);
    });
    batch = own;
    last = own.written;
    return own.written;
  };
}

function unlessNotAFile(error: NodeJS.ErrnoException): void {
  if (error.code !== 'EINVAL') throw error;
}

type Continued = { readonly file: FileHandle; readonly lines: ReturnType<typeof createTextIndex> };

/** The file, if it is there, and where in it the line of each serial begins. Half a line at its end is cut off: its device was not enrolled. */
async function continued(path: string): Promise<Continued | undefined> {
  const file = await open(path, 'r+').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (file === undefined || !(await file.stat()).isFile()) {
    await file?.close();
    return undefined;
  }
  await file.chmod(0o600);
  await file.close();
  const appended = await open(path, 'a+');
  try {
    return await readLines(path, appended);
  } catch (error) {
    await appended.close();
    throw error;
  }
}

async function readLines(path: string, file: FileHandle): Promise<Continued> {
  const { lines, end } = await indexLines(path, file);
  await file.truncate(end);
  if (end === 0) await file.appendFile(header);
  return { file, lines };
}

/** `end`: after the last line that is whole. */
async function indexLines(path: string, file: FileHandle) {
  const lines = createTextIndex();
  let [begin, rest] = [0, Buffer.alloc(0)];
  for await (const chunk of file.createReadStream({ start: 0, autoClose: false })) {
    rest = Buffer.concat([rest, chunk as Buffer]);
    let at = 0;
    for (let end = rest.indexOf(10); end !== -1; at = end + 1, end = rest.indexOf(10, at)) {
      const line = rest.toString('utf8', at, end);
      if (begin + at === 0) requireHeader(path, line);
      else lines.set(line.slice(0, line.indexOf(',')), begin + at);
    }
    begin += at;
    rest = rest.subarray(at);
  }
  if (begin === 0) requireHeader(path, `${rest.toString('utf8')}${header.slice(rest.length).trimEnd()}`);
  return { lines, end: begin };
}

/** @throws when the file is something else, which must not be changed */
function requireHeader(path: string, line: string): void {
  if (line.replace('\r', '') === header.trimEnd()) return;
  throw new Error(`${path} exists, and is no file of tokens; name another file with --out`);
}

async function tokenAt(file: FileHandle, at: number, serial: string): Promise<string | undefined> {
  const { buffer, bytesRead } = await file.read(Buffer.alloc(1024), 0, 1024, at);
  const [line = ''] = buffer.toString('utf8', 0, bytesRead).split(/\r?\n/);
  return line.startsWith(`${serial},`) ? line.slice(serial.length + 1) : undefined;
}

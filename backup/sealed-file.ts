import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  randomBytes,
  scrypt,
  timingSafeEqual,
} from 'node:crypto';
import { closeSync, existsSync, fsyncSync, linkSync, openSync, readSync, renameSync, rmSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { BackupError } from './backup-error.ts';
import { standardStream } from './standard-stream.ts';

/** Raised when an earlier version must not read what this one writes. */
const format = 1;
const magic = 'cvm-backup';

const [pieceBytes, tagBytes, checkBytes] = [64 * 1024, 16, 32];

/** RFC 7914; 64 MiB and some 400 ms of CPU for each try of a passphrase. */
const cost = { N: 2 ** 16, r: 8, p: 2 };

/** A stranger's file must not take all memory, or hours: at most 256 MiB. */
const headerForm = z.object({
  cvm: z.string(),
  createdAt: z.string(),
  kdf: z
    .object({
      N: z.int().min(2 ** 14),
      r: z.int().min(8).max(16),
      p: z.int().min(1).max(8),
      salt: z.base64url().length(22),
    })
    .refine(({ N, r }) => 128 * N * r <= 2 ** 28 && Number.isInteger(Math.log2(N))),
});

export type SealedHead = { readonly cvm: string /** ISO 8601 */; readonly createdAt: string };

export type SealedWriter = {
  write(bytes: Buffer): void;
  /** The file is complete, on disk, and has its name. */
  finish(): void;
  /** Nothing is left of it. */
  abandon(): void;
};

/**
 * Begins a file that only the passphrase opens. It gets its name when it is complete.
 * @throws BackupError where the file is there: nothing is overwritten
 */
export async function createSealedFile(file: string, passphrase: string, head: SealedHead): Promise<SealedWriter> {
  const output = openOutput(file);
  try {
    const kdf = { ...cost, salt: randomBytes(16).toString('base64url') };
    const lines = `${magic} ${format}\n${JSON.stringify({ ...head, kdf })}\n`;
    const [key, checkKey] = await keysOf(passphrase, kdf);
    const check = checkOf(checkKey, lines);
    output.write(Buffer.concat([Buffer.from(`${lines}${digestOf(lines)}\n`), check]));
    let waiting = Buffer.alloc(0);
    let count = 0;
    const seal = (piece: Buffer, isLast: boolean) => {
      const cipher = createCipheriv('aes-256-gcm', key, nonceOf(count++, isLast)).setAAD(check);
      output.write(Buffer.concat([cipher.update(piece), cipher.final(), cipher.getAuthTag()]));
    };
    return {
      write(bytes) {
        waiting = Buffer.concat([waiting, bytes]);
        // one piece is held back: the last one is marked
        while (waiting.length > pieceBytes) {
          seal(waiting.subarray(0, pieceBytes), false);
          waiting = waiting.subarray(pieceBytes);
        }
      },
      finish() {
        seal(waiting, true);
        output.keep();
      },
      abandon: output.drop,
    };
  } catch (error) {
    output.drop();
    throw error;
  }
}

export type SealedReader = {
  readonly head: SealedHead;
  /** Reads the next `count` bytes; fewer at the end of the file. @throws BackupError when the file is damaged */
  read(count: number): Buffer;
  close(): void;
};

/** @throws BackupError for a file that is none of ours, of a newer version or damaged, and for a wrong passphrase */
export async function openSealedFile(file: string, passphrase: string): Promise<SealedReader> {
  const descriptor = file === standardStream ? 0 : openSync(file, 'r');
  const close = () => void (descriptor > 2 && closeSync(descriptor));
  try {
    const take = reading(descriptor);
    const { lines, head, kdf } = readHead(take);
    const check = take(checkBytes);
    if (check.length < checkBytes) throw damaged('it ends after its head');
    const [key, checkKey] = await keysOf(passphrase, kdf);
    if (!timingSafeEqual(check, checkOf(checkKey, lines)))
      throw new BackupError(
        'this is not the passphrase of this backup',
        `try again: it is the one that was given to cvm backup at ${head.createdAt}. Where it is surely right, the file is damaged at its begin: take another copy`,
      );
    return { head, read: opening(take, key, check), close };
  } catch (error) {
    close();
    throw error;
  }
}

type Take = (count: number) => Buffer;

function opening(take: Take, key: Buffer, check: Buffer): Take {
  let [open, next, count] = [Buffer.alloc(0), take(pieceBytes + tagBytes), 0];
  let isOver = false;
  const openPiece = () => {
    const piece = next;
    next = take(pieceBytes + tagBytes);
    isOver = next.length === 0;
    try {
      const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(count++, isOver), { authTagLength: tagBytes });
      decipher.setAAD(check).setAuthTag(piece.subarray(-tagBytes));
      return Buffer.concat([decipher.update(piece.subarray(0, -tagBytes)), decipher.final()]);
    } catch {
      throw damaged(`it was changed, or ends too early, near byte ${(count - 1) * pieceBytes}`);
    }
  };
  return (wanted) => {
    while (open.length < wanted && !isOver) open = Buffer.concat([open, openPiece()]);
    const taken = open.subarray(0, wanted);
    open = open.subarray(wanted);
    return taken;
  };
}

function readHead(take: Take) {
  const first = lineOf(take, 64);
  const [, name, number] = /^(cvm-backup) (\d{1,6})$/.exec(first) ?? [];
  if (name === undefined)
    throw new BackupError(
      'this is no backup of cvm',
      'name the file that cvm backup wrote; if it is that, it is damaged',
    );
  if (Number(number) !== format)
    throw new BackupError(
      `this backup has format ${Number(number)}, and this version of cvm reads format ${format}`,
      'restore it with the version of cvm that made it, or a newer one',
    );
  const second = lineOf(take, 1024);
  const lines = `${first}\n${second}\n`;
  if (lineOf(take, 64) !== digestOf(lines)) throw damaged('its head was changed');
  const read = headerForm.safeParse(JSON.parse(second));
  if (!read.success) throw damaged('its head is not as cvm writes it');
  const { kdf, ...head } = read.data;
  return { lines, head, kdf };
}

/** @returns a line without its end; what comes before the longest length where there is no end */
function lineOf(take: Take, longest: number): string {
  const bytes: Buffer[] = [];
  for (let count = 0; count <= longest; count++) {
    const byte = take(1);
    if (byte.length === 0 || byte[0] === 0x0a) break;
    bytes.push(byte);
  }
  return Buffer.concat(bytes).toString('latin1');
}

const damaged = (how: string) =>
  new BackupError(`the backup is damaged: ${how}`, 'take another copy of it, or an older backup; nothing was restored');

/** Bytes of a file or a pipe in order. @returns fewer than wanted at the end */
function reading(descriptor: number): Take {
  let have = Buffer.alloc(0);
  return (wanted) => {
    while (have.length < wanted) {
      const block = Buffer.alloc(pieceBytes);
      const got = readSync(descriptor, block, 0, block.length, null);
      if (got === 0) break;
      have = Buffer.concat([have, block.subarray(0, got)]);
    }
    const taken = have.subarray(0, wanted);
    have = have.subarray(wanted);
    return taken;
  };
}

const digestOf = (lines: string) => createHash('sha256').update(lines).digest('hex');
const checkOf = (key: Buffer, lines: string) => createHmac('sha256', key).update(lines).digest();

/** Each file has a key of its own, by its salt, so counting is enough. */
function nonceOf(piece: number, isLast: boolean): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeUIntBE(piece, 5, 6);
  nonce[11] = isLast ? 1 : 0;
  return nonce;
}

function keysOf(passphrase: string, { salt, ...kdf }: typeof cost & { salt: string }): Promise<[Buffer, Buffer]> {
  const options = { ...kdf, maxmem: 256 * kdf.N * kdf.r };
  return new Promise((resolve, reject) => {
    scrypt(passphrase.normalize('NFC'), Buffer.from(salt, 'base64url'), 64, options, (error, keys) =>
      error ? reject(error) : resolve([keys.subarray(0, 32), keys.subarray(32)]),
    );
  });
}

type Output = { write(bytes: Buffer): void; keep(): void; drop(): void };

function openOutput(file: string): Output {
  if (file === standardStream) return { write: (bytes) => writeAll(1, bytes), keep: () => {}, drop: () => {} };
  const isThere = () =>
    new BackupError(`${file} is there already`, 'name a file that is not there: no backup is overwritten');
  if (existsSync(file)) throw isThere();
  const part = `${file}.${randomBytes(4).toString('hex')}.part`;
  const descriptor = openSync(part, 'wx', 0o600);
  return {
    write: (bytes) => writeAll(descriptor, bytes),
    keep() {
      fsyncSync(descriptor);
      closeSync(descriptor);
      try {
        // unlike a rename, it overwrites nothing
        linkSync(part, file);
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EEXIST' || existsSync(file)) {
          rmSync(part, { force: true });
          throw isThere();
        }
        // a stick with FAT has no links
        renameSync(part, file);
      }
      rmSync(part, { force: true });
    },
    drop() {
      closeSync(descriptor);
      rmSync(part, { force: true });
    },
  };
}

function writeAll(descriptor: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(descriptor, bytes, at);
}

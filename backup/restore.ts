import {
  accessSync,
  chmodSync,
  chownSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  fchmodSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { z } from 'zod';
import { dataFormat, restoringFolder } from '../site-tls/data-format.ts';
import { lengthBytes, type Manifest } from './backup.ts';
import { BackupError } from './backup-error.ts';
import type { SealedHead, SealedReader } from './sealed-file.ts';
import { isWithin, placeOf, type SitePlaces } from './site-files.ts';

const entryForm = z.object({ path: z.string().max(1024), mode: z.int().min(0).max(0o777), size: z.int().min(0) });
const manifestForm = z.object({
  gateway: z.string().optional(),
  site: z.string().optional(),
  dataFormat: z.int(),
  withAudit: z.boolean(),
  withSettings: z.boolean(),
});

/** What a backup says of itself, and the settings in it. */
export type BackupInside = {
  readonly head: SealedHead;
  readonly manifest: Manifest;
  /** the text of its `.env` */
  readonly settings: string | undefined;
  /** the rest, in order: `onFile` takes the content piece by piece */
  readFiles(onFile: (path: string, mode: number) => { write(piece: Buffer): void; end(): void }): void;
};

/** Reads the begin of a backup: what it is of, and its settings, which say where the rest belongs. @throws BackupError */
export function readBackup(reader: SealedReader): BackupInside {
  const first = nextEntry(reader);
  if (first?.path !== 'manifest') throw broken();
  const manifest = read(manifestForm, whole(reader, first.size)) as Manifest;
  if (manifest.dataFormat > dataFormat)
    throw new BackupError(
      `this backup has a data folder of format ${manifest.dataFormat}, by cvm ${reader.head.cvm}, and this version knows format ${dataFormat}`,
      `restore it with cvm ${reader.head.cvm} or newer`,
    );
  let next = nextEntry(reader);
  let settings: string | undefined;
  if (next?.path === 'settings') {
    settings = whole(reader, next.size).toString('utf8');
    next = nextEntry(reader);
  }
  return {
    head: reader.head,
    manifest,
    settings,
    readFiles(onFile) {
      for (; next !== undefined; next = nextEntry(reader)) {
        // they stand first, since they say where the rest belongs
        if (next.path === 'settings') throw broken();
        const sink = onFile(next.path, next.mode);
        for (let left = next.size; left > 0; ) {
          const piece = reader.read(Math.min(left, 64 * 1024));
          if (piece.length === 0) throw broken();
          sink.write(piece);
          left -= piece.length;
        }
        sink.end();
      }
    },
  };
}

/** Reads all of a backup, so that damage anywhere shows. @returns the names of its files */
export function checkBackup({ settings, readFiles }: BackupInside): string[] {
  const names: string[] = settings === undefined ? [] : ['settings'];
  readFiles((path) => {
    names.push(path);
    return { write: () => {}, end: () => {} };
  });
  return names;
}

/**
 * Puts the files of a backup where they belong. All of the backup is read and checked before any file gets its name, and nothing is
 * overwritten. A restore that is killed leaves the folder `.restoring`, with which no gateway starts. What root restores belongs to the owner of the
 * folder in which it is put, so that the user of the service can read it.
 * @returns where each file is now; and which were left out, since they belong on a file system that is read-only here: what a container is
 * given by its host, or by another container
 * @throws BackupError
 */
export function restore(inside: BackupInside, places: SitePlaces): { files: string[]; leftOut: string[] } {
  const { dataDir, envFile } = places;
  refuseUsed(dataDir);
  const isNew = !existsSync(dataDir);
  const owner = ownerAt(dataDir);
  const staging = join(dataDir, restoringFolder);
  const placed: string[] = [];
  mkdirSync(staging, { recursive: true, mode: 0o700 });
  try {
    const targets = stage(inside, places, staging);
    // what is named outside of the data folder, a root CA say, may be there as it was
    const other = [...targets].filter(([target, staged]) => !isSame(target, staged));
    const leftOut = other.map(([target]) => target).filter((target) => isReadOnly(dirname(target)));
    const missing = other.filter(([target]) => !leftOut.includes(target));
    for (const [target] of missing) refuseThere(target);
    const outside = missing.filter(([target]) => !isWithin(dataDir, target));
    for (const [target, staged] of outside) {
      putOutside(staged, target);
      placed.push(target);
    }
    giveTo(owner, join(staging, 'data'));
    putData(join(staging, 'data'), dataDir, placed);
    rmSync(staging, { recursive: true, force: true });
    if (owner !== undefined && isNew) chownSync(dataDir, owner.uid, owner.gid);
    syncFolder(dataDir);
    const files = [...targets.keys()].filter((target) => !leftOut.includes(target));
    return { files: files.sort((a, b) => Number(b === envFile) - Number(a === envFile)), leftOut };
  } catch (error) {
    // nothing was there before, so what is there now is of this restore
    for (const each of placed.reverse()) rmSync(each, { recursive: true, force: true });
    rmSync(staging, { recursive: true, force: true });
    if (isNew) removeEmpty(dataDir);
    throw error;
  }
}

/** Writes all files into a folder beside their places. @returns place → file there */
function stage(inside: BackupInside, places: SitePlaces, staging: string): Map<string, string> {
  const { dataDir, envFile } = places;
  const targets = new Map<string, string>();
  let count = 0;
  const open = (path: string, target: string, mode: number) => {
    const isOfData = path.startsWith('data/');
    const staged = join(staging, isOfData ? join('data', relative(dataDir, target)) : `outside-${count++}`);
    const place = isOfData ? join(dataDir, relative(dataDir, target)) : target;
    if (targets.has(place)) throw broken();
    targets.set(place, staged);
    return openStaged(staged, mode);
  };
  const { settings } = inside;
  if (settings !== undefined && envFile !== undefined) {
    const file = open('settings', envFile, 0o600);
    file.write(Buffer.from(settings));
    file.end();
  }
  inside.readFiles((path, mode) => {
    const target = placeOf(path, places);
    if (target === undefined)
      throw new BackupError(
        `the backup has ${path}, and the settings name no place for it`,
        'restore with the settings of the backup, or name its place in the environment',
      );
    // the owner alone may write to restored files
    return open(path, target, mode & 0o755);
  });
  return targets;
}

/** Names that exclude each other: the same one twice, a file that is a folder as well, one that is too long. */
const impossible = ['EEXIST', 'EISDIR', 'ENOTDIR', 'ENAMETOOLONG'];

function openStaged(file: string, mode: number) {
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
    return openFile(file, mode);
  } catch (error) {
    throw impossible.includes((error as NodeJS.ErrnoException).code ?? '') ? broken(error) : error;
  }
}

function openFile(file: string, mode: number) {
  const descriptor = openSync(file, 'wx', 0o600);
  // whatever the umask is
  fchmodSync(descriptor, mode);
  return {
    write(piece: Buffer) {
      for (let at = 0; at < piece.length; ) at += writeSync(descriptor, piece, at);
    },
    end() {
      fsyncSync(descriptor);
      closeSync(descriptor);
    },
  };
}

/** Whether its file system is mounted read-only. A folder that lacks permission is another matter, which a person mends. */
function isReadOnly(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK);
    return false;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EROFS';
  }
}

/** Settings, and what they name outside of the data folder. */
function putOutside(staged: string, target: string): void {
  mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
  const part = `${target}.restored.part`;
  rmSync(part, { force: true });
  copyFileSync(staged, part);
  chmodSync(part, statSync(staged).mode & 0o777);
  giveTo(ownerAt(dirname(target)), part);
  renameSync(part, target);
}

type Owner = { readonly uid: number; readonly gid: number };

/** @returns the owner of the nearest folder that is there; undefined where this process is not root, and all is its own */
function ownerAt(file: string): Owner | undefined {
  if (process.getuid?.() !== 0) return undefined;
  for (let folder = file; ; folder = dirname(folder)) if (existsSync(folder)) return statSync(folder);
}

function giveTo(owner: Owner | undefined, path: string): void {
  if (owner === undefined) return;
  chownSync(path, owner.uid, owner.gid);
  if (statSync(path).isDirectory()) for (const name of readdirSync(path)) giveTo(owner, join(path, name));
}

/** The folder with the keys comes last: without it, what is there is no gateway. */
function putData(staged: string, dataDir: string, placed: string[]): void {
  const names = readdirSync(staged).sort((a, b) => Number(a === 'tls') - Number(b === 'tls'));
  for (const name of names) {
    const target = join(dataDir, name);
    refuseThere(target);
    renameSync(join(staged, name), target);
    placed.push(target);
  }
}

function refuseUsed(dataDir: string): void {
  const there = existsSync(dataDir) ? readdirSync(dataDir) : [];
  if (there.length === 0) return;
  const cure = there.includes(restoringFolder)
    ? `an earlier restore was not finished: empty ${dataDir}, ${restoringFolder} as well, and run this again`
    : `stop the gateway, move ${dataDir} away, and run this again; or name another folder in CVM_DATA_DIR`;
  throw new BackupError(
    `the data folder ${dataDir} is not empty (${there.slice(0, 5).join(', ')}): nothing is overwritten`,
    cure,
  );
}

const isSame = (target: string, staged: string): boolean =>
  existsSync(target) && readFileSync(target).equals(readFileSync(staged));

function refuseThere(target: string): void {
  if (!existsSync(target)) return;
  throw new BackupError(
    `${target} is there already: nothing is overwritten`,
    'move it away and run this again; --keep-settings goes by the settings that are here, and leaves those of the backup out',
  );
}

function removeEmpty(folder: string): void {
  try {
    rmdirSync(folder);
  } catch {
    // it has something in it by now
  }
}

function syncFolder(folder: string): void {
  const descriptor = openSync(folder, 'r');
  fsyncSync(descriptor);
  closeSync(descriptor);
}

function nextEntry(reader: SealedReader): z.infer<typeof entryForm> | undefined {
  const length = reader.read(lengthBytes);
  if (length.length === 0) return undefined;
  if (length.length < lengthBytes) throw broken();
  return read(entryForm, whole(reader, Math.min(length.readUInt32BE(), 8192)));
}

function whole(reader: SealedReader, size: number): Buffer {
  if (size > 1024 * 1024) throw broken();
  const bytes = reader.read(size);
  if (bytes.length < size) throw broken();
  return bytes;
}

function read<Form extends z.ZodType>(form: Form, bytes: Buffer): z.infer<Form> {
  try {
    return form.parse(JSON.parse(bytes.toString('utf8')));
  } catch (error) {
    throw broken(error);
  }
}

const broken = (cause?: unknown) =>
  new BackupError('the content of the backup is not as cvm writes it', 'take an older backup; nothing was restored', {
    cause,
  });

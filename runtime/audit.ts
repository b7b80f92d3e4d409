import { randomBytes } from 'node:crypto';
import {
  accessSync,
  closeSync,
  constants,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  statfsSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import {
  fileOf,
  filesIn,
  hashRecord,
  type Links,
  type Position,
  parseLinks,
  parseReference,
  referenceTo,
  writersAtOnce,
} from './audit-format.ts';
import { counted } from './counted.ts';
import type { Log } from './log.ts';

/** The events of a trail: the name of each, and its fields. */
export type AuditEventMap = Readonly<Record<string, object>>;

/** Records what happened, so that it can be proven later. Ids only: a record stays for years. */
export type AuditTrail<Events extends AuditEventMap> = {
  record<Name extends keyof Events & string>(event: Name, fields: Events[Name]): void;
  /** Why records are lost now or would be, with the cure. It writes what is lost, so it knows when the cause is gone. */
  trouble(): string | undefined;
  close(): Promise<void>;
};

/** A record as it stands in the trail. `part`: the part of the product that wrote it. */
export type AuditRecord<Events extends AuditEventMap> = {
  [Name in keyof Events & string]: {
    readonly time: string;
    readonly part: string;
    readonly event: Name;
  } & Events[Name];
}[keyof Events & string];

/** For tests: records nothing. */
export const noAudit = { record() {}, trouble: () => undefined, async close() {} };

/** How much of the end of a file is searched for records that no other names yet: one record of each writer fits into it. */
const tailBytes = writersAtOnce * 1024;

/** The event that stands for records that could not be written. */
const recordsLost = 'records-lost';
const noGap = { records: 0, since: '' };

/** Milliseconds. */
const [syncMs, headMs] = [1000, 3_600_000];

/**
 * Appends records to one file a month, `YYYY-MM.jsonl`, which any number of processes may share: each record is one write
 * to a file opened for appending. A record has the SHA-256 of itself, and names (`after`) the record that its writer wrote
 * before and every record at the end of the trail that no other names yet. A record that is changed, removed or inserted
 * does not fit those that follow (`audit-verify.ts`).
 *
 * A record that cannot be written goes to the log, and the gateway goes on. The next that can be written comes after a record
 * `records-lost`, so that the trail itself says how many it lacks. A power cut may cost the last second.
 */
export function openAudit<Events extends AuditEventMap>(options: {
  folder: string;
  part: string;
  log: Log;
  now?: () => number;
  /** called for a record that could not be written; it is in the log, too */
  onLost?: (event: string, fields: object, error: Error) => void;
}): AuditTrail<Events> {
  const { folder, part, log, now = Date.now, onLost } = options;
  const writer = randomBytes(4).toString('hex');
  let file: { readonly name: string; readonly descriptor: number } | undefined;
  let lastOwn: Position | undefined;
  /** how far each file was read when `lastOwn` was written, which names the records up to there */
  let readTo: ReadonlyMap<string, number> = new Map();
  let dirty = false;
  let gap = noGap;

  function open(name: string, existing: readonly string[]): number {
    // a file that was taken away meanwhile is begun anew; `cvm audit verify` shows what it lacks
    if (file?.name === name && existing.includes(name)) return file.descriptor;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const descriptor = openSync(join(folder, name), 'a+', 0o600);
    closeFile();
    file = { name, descriptor };
    return descriptor;
  }

  function closeFile(): void {
    if (file === undefined) return;
    const { descriptor } = file;
    file = undefined;
    try {
      fdatasyncSync(descriptor);
    } catch (err) {
      log.error({ err }, 'the audit trail could not be written to disk');
    } finally {
      closeSync(descriptor);
    }
  }

  function append(event: string, fields: object): void {
    const time = new Date(now()).toISOString();
    // never an earlier file, even when the clock was set back: a record there would not come after those that it names
    const existing = filesIn(folder);
    const name = [...existing, fileOf(time)].sort().at(-1) ?? '';
    const descriptor = open(name, existing);
    const { unreferenced, torn, ends } = endOf(folder, [...new Set([...existing, name])], readTo);
    const before = lastOwn === undefined ? unreferenced : [lastOwn, ...unreferenced];
    const after = [...new Set(before.map((position) => referenceTo(position, name)))];
    const { line, hash } = hashRecord({ time, writer, part, event, ...fields, after });
    // a record that a crash left half written stays as it is, on a line of its own
    appendAtomic(descriptor, `${torn ? '\n' : ''}${line}\n`);
    lastOwn = { name, hash };
    readTo = ends;
    dirty = true;
  }

  /** Says in the trail which records it lacks, once it can be written again. */
  function noteLost(): void {
    if (gap.records === 0) return;
    append(recordsLost, gap);
    log.warn(gap, 'the audit trail can be written again, and lacks these records');
    gap = noGap;
  }

  function sync(): void {
    if (!dirty || file === undefined) return;
    dirty = false;
    fdatasync(file.descriptor, (err) => err && log.error({ err }, 'the audit trail could not be written to disk'));
  }

  /** A copy of the head, kept elsewhere, shows later that nothing before it was cut off or written anew. */
  function logHead(): void {
    if (lastOwn !== undefined) log.info({ part, head: lastOwn.hash }, 'head of the audit trail');
  }

  const timers = [setInterval(sync, syncMs), setInterval(logHead, headMs)];
  for (const timer of timers) timer.unref();

  return {
    record(event, fields) {
      try {
        noteLost();
        append(event, fields);
      } catch (err) {
        gap = { records: gap.records + 1, since: gap.since || new Date(now()).toISOString() };
        const lost: Record<string, unknown> = { ...fields, event, err };
        log.error(lost, 'the audit trail could not be written');
        onLost?.(event, fields, err as Error);
      }
    },
    trouble() {
      try {
        noteLost();
        return isFull(folder) ? `the disk of the audit trail, ${folder}, is full: free space there` : undefined;
      } catch (error) {
        const { code, message } = error as NodeJS.ErrnoException;
        return `the audit trail in ${folder} cannot be written (${code ?? message}), and ${counted(gap.records, 'record')} went to the log alone: free space there, or correct CVM_AUDIT_DIR`;
      }
    },
    async close() {
      for (const timer of timers) clearInterval(timer);
      closeFile();
      logHead();
    },
  };
}

/** Makes the folder of an audit trail where it is missing. @throws when no record could be written there */
export function prepareAudit(folder: string): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  accessSync(folder, constants.R_OK | constants.W_OK | constants.X_OK);
  const last = filesIn(folder).at(-1);
  if (last !== undefined) accessSync(join(folder, last), constants.R_OK | constants.W_OK);
}

/** Before a record is lost. */
function isFull(folder: string): boolean {
  const found = statfsSync(folder);
  // some file systems know no number
  return found.blocks > 0 && found.bavail * found.bsize < tailBytes;
}

/** One write, or an error: the rest, written later, could stand behind the record of another process. */
function appendAtomic(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  const written = writeSync(descriptor, bytes);
  if (written < bytes.length) throw new Error(`only ${written} of ${bytes.length} bytes could be written`);
}

/**
 * The records at the end of the trail that no other names yet, whether the last file ends in an unfinished line, and how far
 * each file was read. The file before the last is read as well: a process that began to write at the end of a month may have
 * written to it last.
 */
function endOf(folder: string, names: readonly string[], readTo: ReadonlyMap<string, number>) {
  const found: (Position & Links)[] = [];
  const ends = new Map<string, number>();
  let torn = false;
  for (const name of names.slice(-2)) {
    const { text, end } = readFrom(join(folder, name), readTo.get(name) ?? 0);
    ends.set(name, end);
    torn = text !== '' && !text.endsWith('\n');
    for (const line of text.split('\n')) {
      const links = parseLinks(line);
      if (links !== undefined) found.push({ name, ...links });
    }
  }
  const named = new Set(found.flatMap(({ after }) => after.map((reference) => parseReference(reference).hash)));
  return { unreferenced: found.filter(({ hash }) => !named.has(hash)), torn, ends };
}

/** The text of a file from an offset on, but no more than its tail; and the offset at which its last line ends. */
function readFrom(path: string, from: number): { text: string; end: number } {
  const descriptor = openSync(path, 'r');
  try {
    const { size } = fstatSync(descriptor);
    const start = Math.max(from <= size ? from : 0, size - tailBytes);
    const bytes = Buffer.alloc(size - start);
    readSync(descriptor, bytes, 0, bytes.length, start);
    return { text: bytes.toString('utf8'), end: start + bytes.lastIndexOf('\n') + 1 };
  } finally {
    closeSync(descriptor);
  }
}

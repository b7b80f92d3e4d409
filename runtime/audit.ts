import { randomBytes } from 'node:crypto';
import { closeSync, fdatasync, fdatasyncSync, fstatSync, mkdirSync, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import {
  fileOf,
  filesIn,
  type Links,
  linksOf,
  type Place,
  referenceTo,
  referred,
  sealRecord,
  writersAtOnce,
} from './audit-format.ts';
import type { Log } from './log.ts';

/** What happened, to be proven later. Ids only: whatever is recorded stays. */
export type Audit = {
  record(event: string, fields?: Readonly<Record<string, unknown>>): void;
  close(): Promise<void>;
};

/** For those who keep no records. */
export const noAudit: Audit = { record() {}, async close() {} };

/** How much of the end is searched for records that none names yet: room for one record of each who may write at once. */
const tailBytes = writersAtOnce * 1024;

/** Milliseconds. */
const [syncMs, headMs] = [1000, 3_600_000];

/**
 * Appends records to one file a month, `YYYY-MM.jsonl`, which any number of processes may share: each record is one write
 * to a file opened for appending. A record has the SHA-256 of itself, and names (`after`) the record that its writer wrote
 * before and every one at the end of the trail that none names yet: change, remove or put in one, and what follows no
 * longer fits (`audit-verify.ts`).
 *
 * Writing that fails is logged, with what was to be recorded, and does not stop the gateway. A power cut may cost the last
 * second.
 */
export function openAudit(options: { folder: string; part: string; log: Log; now?: () => number }): Audit {
  const { folder, part, log, now = Date.now } = options;
  const writer = randomBytes(4).toString('hex');
  let file: { readonly name: string; readonly descriptor: number } | undefined;
  let own: Place | undefined;
  /** how far each file was read when `own` was written, which names what stood there */
  let readTo: ReadonlyMap<string, number> = new Map();
  let dirty = false;

  function open(name: string, there: readonly string[]): number {
    // one that was taken away under our hands is begun anew: what it lacks is named, and so is seen
    if (file?.name === name && there.includes(name)) return file.descriptor;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const descriptor = openSync(join(folder, name), 'a+', 0o600);
    putAway();
    file = { name, descriptor };
    return descriptor;
  }

  function putAway(): void {
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

  function append(event: string, fields: Readonly<Record<string, unknown>>): void {
    const time = new Date(now()).toISOString();
    // never back to an earlier file, whatever the clock says: a record there would not come after those that it names
    const there = filesIn(folder);
    const name = [...there, fileOf(time)].sort().at(-1) ?? '';
    const descriptor = open(name, there);
    const { loose, torn, ends } = endOf(folder, [...new Set([...there, name])], readTo);
    const before = own === undefined ? loose : [own, ...loose];
    const after = [...new Set(before.map((place) => referenceTo(place, name)))];
    const { line, hash } = sealRecord({ time, writer, part, event, ...fields, after });
    // what a crash left half written stays as it is, on a line of its own
    appendAtomic(descriptor, `${torn ? '\n' : ''}${line}\n`);
    own = { name, hash };
    readTo = ends;
    dirty = true;
  }

  function sync(): void {
    if (!dirty || file === undefined) return;
    dirty = false;
    fdatasync(file.descriptor, (err) => err && log.error({ err }, 'the audit trail could not be written to disk'));
  }

  /** A copy of this, kept elsewhere, shows later that nothing before it was cut off or written anew. */
  function sayHead(): void {
    if (own !== undefined) log.info({ part, head: own.hash }, 'head of the audit trail');
  }

  const timers = [setInterval(sync, syncMs), setInterval(sayHead, headMs)];
  for (const timer of timers) timer.unref();

  return {
    record(event, fields = {}) {
      try {
        append(event, fields);
      } catch (err) {
        log.error({ ...fields, event, err }, 'the audit trail could not be written');
      }
    },
    async close() {
      for (const timer of timers) clearInterval(timer);
      putAway();
      sayHead();
    },
  };
}

/** One write, or an error: a rest that was written later could stand behind the record of somebody else. */
function appendAtomic(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  const written = writeSync(descriptor, bytes);
  if (written < bytes.length) throw new Error(`only ${written} of ${bytes.length} bytes could be written`);
}

/**
 * The records at the end of the trail that none names yet, whether something unfinished stands in its last file, and how
 * far that is. The file before is read as well: who began to write at the end of a month may have written to it last.
 */
function endOf(folder: string, names: readonly string[], readTo: ReadonlyMap<string, number>) {
  const found: (Place & Links)[] = [];
  const ends = new Map<string, number>();
  let torn = false;
  for (const name of names.slice(-2)) {
    const { text, end } = readFrom(join(folder, name), readTo.get(name) ?? 0);
    ends.set(name, end);
    torn = text !== '' && !text.endsWith('\n');
    for (const line of text.split('\n')) {
      const links = linksOf(line);
      if (links !== undefined) found.push({ name, ...links });
    }
  }
  const named = new Set(found.flatMap(({ after }) => after.map((reference) => referred(reference).hash)));
  return { loose: found.filter(({ hash }) => !named.has(hash)), torn, ends };
}

/** What stands in a file from a place on, but no more than its tail; and where its last line ends. */
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

import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fdatasync,
  fdatasyncSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Log } from './log.ts';

/** What happened, to be proven later. Ids only: whatever is recorded stays. */
export type Audit = {
  record(event: string, fields?: Readonly<Record<string, unknown>>): void;
  close(): Promise<void>;
};

/** For those who keep no records. */
export const noAudit: Audit = { record() {}, async close() {} };

/** Where a record stands: its file, and its hash. */
type Place = { readonly name: string; readonly hash: string };

/** A record of another month is named with its month, so that it is known to be put away with it. */
function referenceTo({ name, hash }: Place, current: string): string {
  return name === current ? hash : `${name.slice(0, 7)} ${hash}`;
}

const monthly = /^\d{4}-\d{2}\.jsonl$/;
const [hashLength, tailBytes] = [64, 16_384];

/**
 * Appends records to one file a month, `YYYY-MM.jsonl`, which any number of processes may share: each record is one write
 * to a file opened for appending. A record has the SHA-256 of itself, and names (`after`) the record that its writer wrote
 * before and the one that stood last in the file: change or remove one, and what follows no longer fits.
 *
 * Writing that fails is logged and does not stop the gateway. A power cut may cost the last second.
 */
export function openAudit(options: { folder: string; part: string; log: Log; now?: () => number }): Audit {
  const { folder, part, log, now = Date.now } = options;
  const writer = randomBytes(4).toString('hex');
  let file: { name: string; descriptor: number } | undefined;
  let own: Place | undefined;
  let dirty = false;

  function fileOf(time: Date): number {
    const name = `${time.toISOString().slice(0, 7)}.jsonl`;
    if (file?.name === name) return file.descriptor;
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const descriptor = openSync(join(folder, name), 'a+', 0o600);
    if (file !== undefined) closeSync(file.descriptor);
    file = { name, descriptor };
    return descriptor;
  }

  function append(event: string, fields: Readonly<Record<string, unknown>>): void {
    const time = new Date(now());
    const descriptor = fileOf(time);
    const { last, torn } = endOf(descriptor);
    const name = file?.name ?? '';
    const stoodLast = last === undefined ? lastOfEarlier(folder, name) : { name, hash: last };
    const after = [...new Set([own, stoodLast].map((place) => place && referenceTo(place, name)))].filter(Boolean);
    const body = JSON.stringify({ time: time.toISOString(), writer, part, event, ...fields, after });
    const hash = hashOf(body);
    own = { name, hash };
    // what a crash left half written stays as it is, on a line of its own
    writeSync(descriptor, `${torn ? '\n' : ''}${body.slice(0, -1)},"hash":"${hash}"}\n`);
    dirty = true;
  }

  const timer = setInterval(() => {
    if (!dirty || file === undefined) return;
    dirty = false;
    fdatasync(file.descriptor, (err) => err && log.error({ err }, 'the audit trail could not be written to disk'));
  }, 1000);
  timer.unref();

  return {
    record(event, fields = {}) {
      try {
        append(event, fields);
      } catch (err) {
        log.error({ err, event }, 'the audit trail could not be written');
      }
    },
    async close() {
      clearInterval(timer);
      if (file === undefined) return;
      fdatasyncSync(file.descriptor);
      closeSync(file.descriptor);
      // a copy of this, kept elsewhere, shows later that nothing before it was cut off
      log.info({ head: own?.hash }, 'the audit trail ends here for now');
      file = undefined;
    },
  };
}

export type AuditVerdict = {
  readonly records: number;
  /** hash of the last record */
  readonly head?: string;
  /** what does not fit, with file and line */
  readonly faults: readonly string[];
};

/**
 * Checks every record of a folder: unchanged, in order, none missing between two others. What nobody can see from the
 * records alone is that the last ones were cut off: compare a head that was noted elsewhere, with `expect`.
 * Files of earlier months may have been put away.
 */
export function verifyAudit(folder: string, expect?: string): AuditVerdict {
  const seen = new Set<string>();
  const faults: string[] = [];
  let head: string | undefined;
  const names = existsSync(folder)
    ? readdirSync(folder)
        .filter((name) => monthly.test(name))
        .sort()
    : [];
  const [oldest = ''] = names;
  for (const name of names) {
    const lines = readFileSync(join(folder, name), 'utf8').split('\n');
    const atEnd = lines.pop();
    if (atEnd !== '') faults.push(`${name}: the last record is cut off`);
    for (const [number, line] of lines.entries()) {
      const where = `${name}:${number + 1}`;
      const record = parseRecord(line);
      if (typeof record === 'string') {
        faults.push(`${where}: ${record}`);
        continue;
      }
      const { hash, after } = record;
      if (seen.has(hash)) faults.push(`${where}: stands here a second time`);
      for (const reference of after) {
        const [earlier = '', month] = reference.split(' ').reverse();
        const putAway = month !== undefined && month < oldest.slice(0, 7);
        if (!putAway && !seen.has(earlier))
          faults.push(`${where}: a record that came before it is missing or was changed`);
      }
      seen.add(hash);
      head = hash;
    }
  }
  if (expect !== undefined && !seen.has(expect)) faults.push(`the record ${expect} is not there`);
  return { records: seen.size, ...(head === undefined ? {} : { head }), faults };
}

function parseRecord(line: string): { hash: string; after: string[] } | string {
  const match = /^(.*),"hash":"([0-9a-f]{64})"\}$/.exec(line);
  const [, body = '', hash = ''] = match ?? [];
  if (match === null) return 'is not a whole record (a crash while it was written, or a change)';
  if (hashOf(`${body}}`) !== hash) return 'was changed';
  const { after = [] } = JSON.parse(`${body}}`) as { after?: string[] };
  return { hash, after };
}

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

/** The hash of the last whole line of a file, and whether something unfinished stands after it. */
function endOf(descriptor: number): { last?: string; torn: boolean } {
  const { size } = fstatSync(descriptor);
  const tail = Buffer.alloc(Math.min(size, tailBytes));
  readSync(descriptor, tail, 0, tail.length, size - tail.length);
  const text = tail.toString('utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  const lines = whole.split('\n').filter((line) => /"hash":"[0-9a-f]{64}"\}$/.test(line));
  const last = lines.at(-1)?.slice(-hashLength - 2, -2);
  return { ...(last === undefined ? {} : { last }), torn: size > 0 && !text.endsWith('\n') };
}

function lastOfEarlier(folder: string, current: string): Place | undefined {
  const name = readdirSync(folder)
    .filter((file) => monthly.test(file) && file < current)
    .sort()
    .at(-1);
  if (name === undefined) return undefined;
  const descriptor = openSync(join(folder, name), 'r');
  try {
    const { last } = endOf(descriptor);
    return last === undefined ? undefined : { name, hash: last };
  } finally {
    closeSync(descriptor);
  }
}

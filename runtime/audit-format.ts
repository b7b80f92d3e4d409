import { createHash } from 'node:crypto';
import { createReadStream, readdirSync } from 'node:fs';
import { isThere } from './is-there.ts';

/** The position of a record: its file, and its hash. */
export type Position = { readonly name: string; readonly hash: string };

/** The part of a record that ties it to others. `after`: references to earlier records. */
export type Links = { readonly writer: string; readonly after: readonly string[]; readonly hash: string };

/**
 * The largest number of processes that may write to one trail at the same moment. With more, `verifyAudit` may report faults in
 * a good trail.
 */
export const writersAtOnce = 16;

/** Characters. No record comes near it; a longer line is never held in memory. */
const longestLine = 65_536;

const monthlyFile = /^\d{4}-\d{2}\.jsonl$/;
const record =
  /^\{"time":"[^"]*","writer":"([0-9a-f]{8})",.*"after":\[((?:"(?:\d{4}-\d{2} )?[0-9a-f]{64}",?)*)\],"hash":"([0-9a-f]{64})"\}$/s;
const hashFieldLength = `,"hash":"${'0'.repeat(64)}"}`.length;

export const fileOf = (time: string): string => `${time.slice(0, 7)}.jsonl`;
const monthOf = (name: string): string => name.slice(0, 7);

/** The files of a trail, oldest first; none when the folder does not exist. */
export function filesIn(folder: string): string[] {
  if (!isThere(folder)) return [];
  return readdirSync(folder)
    .filter((name) => monthlyFile.test(name))
    .sort();
}

/**
 * The lines of a file; `ended` is false for a last one without a line end. Not by `readline`, which ends lines at U+2028 and
 * U+2029 as well, and JSON does not.
 */
export async function* linesOf(path: string): AsyncGenerator<{ readonly line: string; readonly ended: boolean }> {
  let rest = '';
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: 1_048_576 })) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = (lines.pop() ?? '').slice(0, longestLine);
    for (const line of lines) yield { line, ended: true };
  }
  if (rest !== '') yield { line: rest, ended: false };
}

/** A record of another month is named with its month, so that a reader knows when it was archived with its file. */
export function referenceTo({ name, hash }: Position, currentFile: string): string {
  return name === currentFile ? hash : `${monthOf(name)} ${hash}`;
}

/** The reverse of `referenceTo`. */
export function parseReference(reference: string): { readonly hash: string; readonly month?: string } {
  const [hash = '', month] = reference.split(' ').reverse();
  return { hash, ...(month === undefined ? {} : { month }) };
}

/** A record as it is written, with the SHA-256 of itself. */
export function hashRecord(fields: Readonly<Record<string, unknown>>): {
  readonly line: string;
  readonly hash: string;
} {
  const body = JSON.stringify(fields);
  const hash = hashOf(body);
  return { line: `${body.slice(0, -1)},"hash":"${hash}"}`, hash };
}

/** The links of a line, as it states them; undefined when it is not a whole record. `recomputeHash` tells a changed one. */
export function parseLinks(line: string): Links | undefined {
  const [, writer, after, hash] = record.exec(line) ?? [];
  if (writer === undefined || after === undefined || hash === undefined) return undefined;
  return { writer, after: after === '' ? [] : after.slice(1, -1).split('","'), hash };
}

/** The hash that the line of an unchanged record states. */
export function recomputeHash(line: string): string {
  return hashOf(`${line.slice(0, -hashFieldLength)}}`);
}

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';

/** Where a record stands: its file, and its hash. */
export type Place = { readonly name: string; readonly hash: string };

/** What of a record ties it to others. `after`: references to records that came before it. */
export type Links = { readonly writer: string; readonly after: readonly string[]; readonly hash: string };

/** More than so many do not write to one trail at the same moment. */
export const writersAtOnce = 16;

const monthly = /^\d{4}-\d{2}\.jsonl$/;
const record =
  /^\{"time":"[^"]*","writer":"([0-9a-f]{8})",.*"after":\[((?:"(?:\d{4}-\d{2} )?[0-9a-f]{64}",?)*)\],"hash":"([0-9a-f]{64})"\}$/s;
const sealLength = `,"hash":"${'0'.repeat(64)}"}`.length;

export const fileOf = (time: string): string => `${time.slice(0, 7)}.jsonl`;
const monthOf = (name: string): string => name.slice(0, 7);

/** The files of a trail, oldest first; none where there is no folder. */
export function filesIn(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((name) => monthly.test(name))
    .sort();
}

/** A record of another month is named with its month, so that it is known to be put away with it. */
export function referenceTo({ name, hash }: Place, current: string): string {
  return name === current ? hash : `${monthOf(name)} ${hash}`;
}

export function referred(reference: string): { readonly hash: string; readonly month?: string } {
  const [hash = '', month] = reference.split(' ').reverse();
  return { hash, ...(month === undefined ? {} : { month }) };
}

/** A record as it is written, with the SHA-256 of itself. */
export function sealRecord(fields: Readonly<Record<string, unknown>>): {
  readonly line: string;
  readonly hash: string;
} {
  const body = JSON.stringify(fields);
  const hash = hashOf(body);
  return { line: `${body.slice(0, -1)},"hash":"${hash}"}`, hash };
}

/** Of a line that is a whole record, as it says itself; `hashedAnew` tells whether it is unchanged. */
export function linksOf(line: string): Links | undefined {
  const [, writer, after, hash] = record.exec(line) ?? [];
  if (writer === undefined || after === undefined || hash === undefined) return undefined;
  return { writer, after: after === '' ? [] : after.slice(1, -1).split('","'), hash };
}

export function recomputeHash(line: string): string {
  return hashOf(`${line.slice(0, -sealLength)}}`);
}

function hashOf(body: string): string {
  return createHash('sha256').update(body).digest('hex');
}

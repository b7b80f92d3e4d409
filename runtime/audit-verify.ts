import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { filesIn, type Links, linksOf, recomputeHash, referred, writersAtOnce } from './audit-format.ts';

export type AuditVerdict = {
  readonly records: number;
  /** hash of the last record */
  readonly head?: string;
  /** what does not fit, with file and line */
  readonly faults: readonly string[];
};

/** Characters. No record comes near it; a line is never held for longer. */
const longestLine = 65_536;

/**
 * Checks every record of a folder: unchanged, in order, none missing between two others, none put in. That the last ones
 * were cut off, or that somebody wrote the whole trail anew, cannot be seen from the records: compare a head that was
 * noted elsewhere, with `expect`. Files of earlier months may have been put away.
 */
export async function verifyAudit(folder: string, expect?: string): Promise<AuditVerdict> {
  const names = filesIn(folder);
  const chain = createChain(names[0]?.slice(0, 7) ?? '');
  const faults: string[] = [];
  for (const name of names) {
    let number = 0;
    for await (const { line, ended } of linesOf(join(folder, name))) {
      number++;
      if (!ended) faults.push(`${name}: the last record is cut off`);
      // two who find the same unfinished line begin a new one both
      else if (line !== '') faults.push(...chain.add(line, `${name}:${number}`));
    }
  }
  const { records, head } = chain.state();
  if (records === 0) faults.push(nothingIn(folder));
  if (expect !== undefined && !chain.has(expect)) faults.push(`the record ${expect} is not there`);
  return { records, ...(head === undefined ? {} : { head }), faults };
}

/** That there is nothing proves nothing: a wrong folder, a first start, or somebody who removed it all. */
function nothingIn(folder: string): string {
  return existsSync(folder)
    ? `no record is in ${folder}: none was ever written there, or they were removed`
    : `there is no folder ${folder}`;
}

/** @param oldest month that is there: what stands in one before it was put away */
function createChain(oldest: string) {
  const seen = new Set<string>();
  const unreferenced = createUnreferenced();
  let head: string | undefined;

  return {
    /** Takes the next line. Answers with what does not fit. */
    add(line: string, where: string): string[] {
      const links = linksOf(line);
      if (links === undefined)
        return [`${where}: is not a whole record (a crash or a full disk while it was written, or a change)`];
      // kept instead of what the line says: a part of a string keeps the whole of it in memory
      const hash = recomputeHash(line);
      if (hash !== links.hash) return [`${where}: was changed`];
      const faults = seen.has(hash) ? [`${where}: stands here a second time`] : [];
      for (const { hash: earlier, month } of links.after.map(referred))
        if (!seen.has(earlier) && !(month !== undefined && month < oldest))
          faults.push(`${where}: a record that came before it is missing or was changed`);
      for (const other of unreferenced.add({ ...links, hash }, where))
        faults.push(`${other}: none of the records that came after it names it: it was put in, or one is missing`);
      seen.add(hash);
      head = hash;
      return faults;
    },
    has: (hash: string) => seen.has(hash),
    state: () => ({ records: seen.size, head }),
  };
}

/**
 * The records that none has named yet. A writer sees all that stood there before it began to write. One record of each
 * other writer may have been under way already; who writes for the second time, or wrote the one in question, names it.
 */
function createUnreferenced() {
  const loose = new Map<string, { readonly where: string; readonly unaware: Set<string> }>();

  return {
    /** Answers with the places of records that this one, or one before it, should have named. */
    add({ writer, after, hash }: Links, where: string): string[] {
      const unnamed: string[] = [];
      for (const reference of after) loose.delete(referred(reference).hash);
      for (const [other, { where: place, unaware }] of loose) {
        if (!unaware.has(writer) && unaware.add(writer).size <= writersAtOnce) continue;
        unnamed.push(place);
        loose.delete(other);
      }
      loose.set(hash, { where, unaware: new Set([writer]) });
      return unnamed;
    },
  };
}

/** `ended`: with a line end. Not by `readline`, which also ends lines at U+2028 and U+2029, as JSON does not. */
async function* linesOf(path: string): AsyncGenerator<{ readonly line: string; readonly ended: boolean }> {
  let rest = '';
  for await (const chunk of createReadStream(path, { encoding: 'utf8', highWaterMark: 1_048_576 })) {
    const lines = `${rest}${chunk}`.split('\n');
    rest = (lines.pop() ?? '').slice(0, longestLine);
    for (const line of lines) yield { line, ended: true };
  }
  if (rest !== '') yield { line: rest, ended: false };
}

import { join } from 'node:path';
import {
  filesIn,
  type Links,
  linesOf,
  parseLinks,
  parseReference,
  recomputeHash,
  writersAtOnce,
} from './audit-format.ts';
import { isThere } from './is-there.ts';

export type AuditVerdict = {
  readonly records: number;
  /** hash of the last record */
  readonly head?: string;
  /** what is wrong with the trail, with file and line */
  readonly faults: readonly string[];
};

/**
 * Checks every record of a folder: unchanged, in order, none missing between two others, none inserted. The records cannot
 * show that the last ones were cut off, or that the whole trail was written anew; `expect`, a head that was noted elsewhere,
 * does. Files of earlier months may have been archived.
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
      // two writers that find the same unfinished line both begin a new one, which leaves an empty line
      else if (line !== '') faults.push(...chain.add(line, `${name}:${number}`));
    }
  }
  const { records, head } = chain.state();
  if (records === 0) faults.push(emptyTrail(folder));
  if (expect !== undefined && !chain.has(expect))
    faults.push(
      `the record ${expect} is not there: it and those before it were cut off or written anew, or its monthly file was archived (put it back and run this again)`,
    );
  return { records, ...(head === undefined ? {} : { head }), faults };
}

/** An empty trail is a fault: the folder may be wrong, or the trail was removed. On a first start it is neither. */
function emptyTrail(folder: string): string {
  return isThere(folder)
    ? `no record is in ${folder}: none was ever written there, or they were removed`
    : `there is no folder ${folder}: name the folder of the trail with --dir or CVM_AUDIT_DIR`;
}

/** @param oldest the first month of the trail; a record of an earlier month was archived */
function createChain(oldest: string) {
  const seen = new Set<string>();
  const unreferenced = createUnreferenced();
  let head: string | undefined;

  return {
    /** Takes the next line. @returns its faults */
    add(line: string, where: string): string[] {
      const links = parseLinks(line);
      if (links === undefined)
        return [`${where}: is not a whole record (a crash or a full disk while it was written, or a change)`];
      // a new string, not the part of the line: that would keep the whole line in memory
      const hash = recomputeHash(line);
      if (hash !== links.hash) return [`${where}: was changed`];
      const faults = seen.has(hash) ? [`${where}: stands here a second time`] : [];
      for (const { hash: earlier, month } of links.after.map(parseReference))
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
 * The records that no later record names yet. A writer sees all records that stood there before it began to write. One record
 * of each other writer may already have been under way then; a writer that writes again, or that wrote the record itself, has
 * to name it.
 */
function createUnreferenced() {
  const records = new Map<string, { readonly where: string; readonly excused: Set<string> }>();

  return {
    /** @returns the places of earlier records that this one should have named */
    add({ writer, after, hash }: Links, where: string): string[] {
      const unnamed: string[] = [];
      for (const reference of after) records.delete(parseReference(reference).hash);
      for (const [other, { where: place, excused }] of records) {
        if (!excused.has(writer) && excused.add(writer).size <= writersAtOnce) continue;
        unnamed.push(place);
        records.delete(other);
      }
      records.set(hash, { where, excused: new Set([writer]) });
      return unnamed;
    },
  };
}

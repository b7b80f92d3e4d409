import type { DirectoryEntry, DirectoryKeeper } from '../queue/directory.ts';
import type { RosterEntry, RosterStore } from '../queue/roster.ts';
import type { Devices } from '../registry/devices.ts';
import { serves } from '../registry/site.ts';
import type { IndexedDevice, SiteIndex } from '../registry/site-index.ts';
import { directoryEntryOf } from './directory-entry.ts';
import { fingerprint, rosterEntryOf } from './roster-entry.ts';

export type RosterCopyDeps = {
  readonly registry: Pick<Devices, 'find' | 'list'>;
  readonly sites: Pick<SiteIndex, 'list'>;
  readonly roster: Pick<RosterStore, 'pages' | 'read' | 'write'>;
  /** has the same devices, from the same reading */
  readonly directory: Pick<DirectoryKeeper, 'put' | 'fill' | 'remove'>;
  readonly replayWindowMs: number;
  /** that this gateway serves */
  readonly site?: string | undefined;
};

/** Rows that are read at a time, and entries that are written or compared at a time. */
const [readsAtATime, entriesAtATime] = [32, 500];

/** The clocks of those who write may differ by so much, and the index may be behind. Milliseconds. */
const overlapMs = 15 * 60_000;

/** Writes what the table has of these devices now. One that another site serves is gone here. */
export async function copyRows(serials: readonly string[], deps: RosterCopyDeps): Promise<void> {
  const rows = await inBatches(
    serials,
    readsAtATime,
    async (serial) => [serial, await deps.registry.find(serial)] as const,
  );
  const entries: RosterEntry[] = [];
  const listed: DirectoryEntry[] = [];
  const gone: string[] = [];
  for (const [serial, device] of rows) {
    if (device !== undefined && serves(deps.site, device.site)) {
      entries.push(rosterEntryOf(device, deps.replayWindowMs));
      listed.push(directoryEntryOf(device));
    } else gone.push(serial);
  }
  await deps.roster.write(entries, gone);
  await deps.directory.put(listed);
  await deps.directory.remove(gone);
}

type Differences = { readonly size: number; readonly changed: number; readonly gone: number };

/** Compares every device of this gateway with the roster, and writes the differences. @param isEmpty the directory, which it then fills */
export async function compareWhole(
  deps: RosterCopyDeps,
  extendLease: () => Promise<unknown>,
  isEmpty = false,
): Promise<Differences> {
  const { registry, sites, site, roster, directory, replayWindowMs } = deps;
  const old = new Map<string, string>();
  for await (const page of roster.pages()) for (const entry of page) old.set(entry.serial, fingerprint(entry));
  const doubtful: string[] = [];
  let [size, changed] = [0, 0];
  let batch: RosterEntry[] = [];
  const flush = async () => {
    await roster.write(batch, []);
    batch = [];
    await extendLease();
  };
  let listed: DirectoryEntry[] = [];
  // a query of the index gives a device twice that changes meanwhile
  const again: DirectoryEntry[] = [];
  const entered = new Set<string>();
  const list = async () => {
    if (isEmpty) await directory.fill(listed);
    else await directory.put(listed);
    listed = [];
  };
  for await (const device of site === undefined ? registry.list() : sites.list(site)) {
    if (device.removedAt !== undefined || !serves(site, device.site)) continue;
    const entry = rosterEntryOf(device, replayWindowMs);
    size++;
    if (entered.has(entry.serial)) again.push(directoryEntryOf(device));
    else if (listed.push(directoryEntryOf(device)) >= entriesAtATime) await list();
    if (isEmpty && site !== undefined) entered.add(entry.serial);
    const known = old.get(entry.serial);
    old.delete(entry.serial);
    if (known === fingerprint(entry)) continue;
    changed++;
    // the index may be behind the table, from which this entry may have been read
    if (site !== undefined && known !== undefined) doubtful.push(entry.serial);
    else if (batch.push(entry) >= entriesAtATime) await flush();
  }
  await flush();
  await list();
  await directory.put(again);
  // the index has no row that another tool wrote a while ago; the table has it
  if (site === undefined) {
    await roster.write([], [...old.keys()]);
    await directory.remove([...old.keys()]);
  } else await copyRows([...doubtful, ...old.keys()], deps);
  return { size, changed, gone: old.size };
}

/**
 * Compares the devices of a site that changed since then with the roster. What was announced is in it already, so it costs no read of
 * a row. @returns how many differed
 */
export async function compareChanges(site: string, since: number, deps: RosterCopyDeps): Promise<number> {
  let differing = 0;
  const compare = async (devices: readonly IndexedDevice[]) => {
    const found = await deps.roster.read(devices.map(({ serial }) => serial));
    const known = new Map(found.map((entry) => [entry.serial, fingerprint(entry)]));
    const other = devices.filter((device) => {
      const wanted =
        device.removedAt === undefined ? fingerprint(rosterEntryOf(device, deps.replayWindowMs)) : undefined;
      return known.get(device.serial) !== wanted;
    });
    differing += other.length;
    await deps.directory.put(
      devices.filter(({ removedAt }) => removedAt === undefined).map((device) => directoryEntryOf(device)),
    );
    await copyRows(
      other.map(({ serial }) => serial),
      deps,
    );
  };
  let batch: IndexedDevice[] = [];
  for await (const device of deps.sites.list(site, Math.max(0, since - overlapMs))) {
    if (batch.push(device) < entriesAtATime) continue;
    await compare(batch);
    batch = [];
  }
  if (batch.length > 0) await compare(batch);
  return differing;
}

async function inBatches<T, U>(items: readonly T[], size: number, act: (item: T) => Promise<U>): Promise<U[]> {
  const done: U[] = [];
  for (let start = 0; start < items.length; start += size)
    done.push(...(await Promise.all(items.slice(start, start + size).map(act))));
  return done;
}

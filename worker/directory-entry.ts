import type { DirectoryEntry } from '../queue/directory.ts';
import type { IndexedDevice } from '../registry/site-index.ts';

/** The entry of a device in the console's list. */
export function directoryEntryOf({ serial, state, site, requestedAt, issuedAt }: IndexedDevice): DirectoryEntry {
  return {
    serial,
    state,
    ofSite: site !== undefined,
    ...timeOf('requestedAt', requestedAt),
    ...timeOf('registeredAt', issuedAt),
  };
}

/** In whole seconds. 0 stands for a time that has not come, and another tool may have written any number. */
function timeOf<Name extends string>(name: Name, ms: number | undefined): { [key in Name]?: number } {
  if (ms === undefined || !(ms >= 1000)) return {};
  return { [name]: Math.floor(ms / 1000) } as { [key in Name]: number };
}

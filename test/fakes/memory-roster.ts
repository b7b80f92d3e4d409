import type { DirectoryKeeper } from '../../queue/directory.ts';
import type { RosterPosition, RosterStore, SignedRosterEntry } from '../../queue/roster.ts';

/** The worker's side of a roster, in memory. Signatures are not what is tested with it. */
export function createMemoryRoster() {
  const entries = new Map<string, SignedRosterEntry>();
  const lookups: string[] = [];
  let position: RosterPosition | undefined;
  const store: RosterStore = {
    gateways: async () => [],
    publishTableKey: async () => {},
    publishGatewayList: async () => {},
    lead: async () => true,
    stopLeading: async () => {},
    position: async () => position,
    async setPosition(reached) {
      position = reached;
    },
    takeRequestedLookups: async () => lookups.splice(0),
    async *pages() {
      yield [...entries.values()];
    },
    read: async (serials) => serials.flatMap((serial) => entries.get(serial) ?? []),
    async write(written, gone) {
      for (const entry of written) entries.set(entry.serial, { ...entry, signature: '' });
      for (const serial of gone) entries.delete(serial);
    },
    close: async () => {},
  };
  return { store, entries, lookups, position: () => position };
}

/** For a test of the roster alone. */
export const noDirectory: DirectoryKeeper = {
  async put() {},
  async remove() {},
  async noteRegistered() {},
  isComplete: async () => true,
  async clear() {},
  async fill() {},
  async setComplete() {},
  async close() {},
};

import type { TableTrust } from '../queue/replies.ts';
import type { RosterFeed } from '../queue/roster.ts';
import type { Log } from '../runtime/log.ts';
import type { DeviceKeys } from '../sealing/device-keys.ts';
import type { OwnGateway } from '../sealing/gateway.ts';
import { createLookupLine } from './lookup-line.ts';
import { createRosterEntries } from './roster-entries.ts';

/** The devices of this site as the broker knows them, without asking Redis or the worker. */
export type Roster = {
  /** Whether this is the serial's token. Also false for a device that was enrolled a moment ago. */
  matchesToken(serial: string, tokenHash: string): boolean;
  /** Whether there is an entry of this serial; for a device that was enrolled a moment ago, not yet. Its signature is not checked. */
  knows(serial: string): boolean;
  /**
   * Whether a token that was found right can still get the device its certificate. It cannot any more once the device is blocked or
   * removed, the token has expired, was acknowledged or replaced, or the replay window is over. Some of that is known here within the hour.
   */
  isCurrent(serial: string, tokenHash: string): boolean;
  /** Calls `listener` with the serials whose entries changed, or were removed. */
  onChange(listener: (serials: readonly string[]) => void): void;
  /** The device's keys, if they were sealed to this gateway. It takes 0.2 ms, with keys or without. */
  keysOf(serial: string): { readonly tokenHash: string; readonly keys: DeviceKeys } | undefined;
  /**
   * Has the serial looked up in the table, because wrong tokens are tried for it, or because the device was enrolled a
   * moment ago. Its entry is here some seconds later, or more where other addresses cause many lookups.
   * @param address that causes it, as limits count it
   */
  requestLookup(serial: string, address: string): void;
  /** Announces this gateway's key with the present time: the clock was set, and an old announcement would not count. */
  announceAgain(): void;
  size(): number;
  close(): void;
};

/** A roster without devices. */
export const noRoster: Roster = {
  matchesToken: () => false,
  knows: () => false,
  isCurrent: () => false,
  onChange() {},
  keysOf: () => undefined,
  requestLookup() {},
  announceAgain() {},
  size: () => 0,
  close() {},
};

/** How often a broker announces its key again, in milliseconds. One that stops is forgotten (`announcementLifetimeMs`). */
const usualAnnounceMs = 3_600_000;

/** Between two requested lookups, in milliseconds. */
const lookupIntervalMs = 100;

/** In the place of an address, for lookups that the roster itself causes. */
const ofRoster = 'roster';

/**
 * Announces this gateway, and follows the site's roster. An entry that the trusted table did not sign counts for nothing, and
 * is looked up there. Resolves when it has read the whole roster once, which takes
 * a second for 100,000 devices; from then on it follows the changes.
 */
export async function openRoster(
  feed: RosterFeed,
  gateway: OwnGateway,
  table: TableTrust,
  log: Log,
  { now = () => Date.now(), announceMs = usualAnnounceMs }: { now?: () => number; announceMs?: number } = {},
): Promise<Roster> {
  const entries = createRosterEntries(gateway, {
    tableKey: table.key,
    onUnsigned(serial) {
      // before it has met a table, no entry counts
      if (table.key() === undefined) return;
      table.reportUnsigned('an entry of the roster');
      lookups.add(serial, ofRoster);
    },
  });
  const listeners: ((serials: readonly string[]) => void)[] = [];
  const follower = createFollower(feed, entries, (serials) => {
    for (const listener of listeners) listener(serials);
  });
  let [opened, closed] = [false, false];
  const lookups = createLookupLine(requestLookup, lookupIntervalMs);

  const announce = () => feed.announceGateway(gateway, now());
  const announceAgain = () =>
    void announce().catch((err: unknown) =>
      log.warn({ err }, 'this gateway could not announce itself; it tries again'),
    );

  function requestLookup(serial: string): void {
    feed
      .requestLookup(serial)
      .catch((err: unknown) => log.debug({ err, serial }, 'the lookup of a serial could not be requested'));
  }

  await feed.listen(
    (serials) => {
      if (closed) return;
      follower.readSome(serials).catch((err: unknown) => log.warn({ err }, 'a change of the roster could not be read'));
    },
    () => {
      if (closed || !opened) return;
      announceAgain();
      follower
        .readAll()
        .catch((err: unknown) =>
          log.warn({ err }, 'the roster could not be read; it is read again when Redis is back'),
        );
    },
  );
  opened = true;
  await announce();
  const timer = setInterval(announceAgain, announceMs);
  timer.unref();
  await follower.readAll();
  log.info({ devices: entries.size(), gateway: gateway.identity.id }, 'the roster is read');

  return {
    matchesToken: entries.matchesToken,
    knows: entries.has,
    isCurrent: (serial, tokenHash) => entries.isCurrent(serial, tokenHash, now()),
    onChange: (listener) => void listeners.push(listener),
    keysOf: entries.keysOf,
    requestLookup: lookups.add,
    announceAgain,
    size: entries.size,
    close() {
      closed = true;
      clearInterval(timer);
      lookups.close();
    },
  };
}

/** Reads the roster, as a whole or some serials of it. What changes while the whole is read is read once more after it. */
function createFollower(
  feed: RosterFeed,
  entries: ReturnType<typeof createRosterEntries>,
  onChanged: (serials: readonly string[]) => void,
) {
  let [reading, again] = [false, false];
  let changedMeanwhile: Set<string> | undefined;

  async function readChanged(serials: readonly string[]): Promise<void> {
    entries.replaceSome(serials, await feed.read(serials));
    onChanged(serials);
  }

  async function readWhole(): Promise<void> {
    const changed = new Set<string>();
    changedMeanwhile = changed;
    await entries.replaceAll(feed.pages());
    changedMeanwhile = undefined;
    await readChanged([...changed]);
  }

  return {
    readSome(serials: readonly string[]): Promise<void> {
      for (const serial of serials) changedMeanwhile?.add(serial);
      return readChanged(serials);
    },
    /** One read at a time. A request during one starts another after it. */
    async readAll(): Promise<void> {
      again = true;
      if (reading) return;
      reading = true;
      try {
        while (again) {
          again = false;
          await readWhole();
        }
      } finally {
        reading = false;
      }
    },
  };
}

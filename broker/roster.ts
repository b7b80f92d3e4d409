import { hashToken } from '../protocol/token.ts';
import type { RosterEntry, RosterFeed } from '../queue/roster.ts';
import type { Log } from '../runtime/log.ts';
import {
  type DeviceKeys,
  type GatewayKey,
  gatewayIdOf,
  openDeviceKeys,
  sealDeviceKeys,
} from '../sealing/device-keys.ts';
import type { KeyPair } from '../sealing/hpke.ts';

/** What the broker knows by itself of the devices of its site. */
export type Roster = {
  /** Whether this is the serial's token. False, too, for a device that was enrolled a moment ago. */
  matchesToken(serial: string, tokenHash: string): boolean;
  /** The device's keys, where they were sealed to this gateway. Costs 0.1 ms, whether there are any or not. */
  keysOf(serial: string): { readonly tokenHash: string; readonly keys: DeviceKeys } | undefined;
  /** Somebody guesses at this serial, or has the right token and is not known yet: sees to it that he is, some seconds later. */
  requestLookup(serial: string): void;
  size(): number;
  close(): void;
};

/** Knows nobody. */
export const noRoster: Roster = {
  matchesToken: () => false,
  keysOf: () => undefined,
  requestLookup() {},
  size: () => 0,
  close() {},
};

/** How often a broker introduces itself again, in milliseconds: who does not is taken for gone, see `introducedMs`. */
const usualAgainMs = 3_600_000;

const hashBytes = 32;
const hashPrefix = 'sha256:';
/** The shortest time between two inquiries: a flood of guesses must not become a flood of them. Milliseconds. */
const inquiryMs = 100;
const decoySerial = 'decoy';

/**
 * Holds the roster in memory: for each serial the hash of its token and its keys, still sealed, as one string of bytes;
 * 100,000 devices take 30 MB. Resolves when it has read the roster once, which takes a second; it follows from then on.
 */
export async function openRoster(
  feed: RosterFeed,
  pair: KeyPair,
  log: Log,
  { now = Date.now, againMs = usualAgainMs }: { now?: () => number; againMs?: number } = {},
): Promise<Roster> {
  const gateway: GatewayKey = {
    id: gatewayIdOf(pair.publicKey),
    publicKey: pair.publicKey.toString('base64url'),
  };
  let entries = new Map<string, string>();
  let [listening, reading, again] = [false, false, false];
  let changedMeanwhile: Set<string> | undefined;
  let closed = false;
  let inquiredAt = 0;

  const announceGateway = () => feed.announceGateway({ ...gateway, at: now() });
  const introduceAgain = () =>
    void announceGateway().catch((err: unknown) =>
      log.warn({ err }, 'this gateway could not introduce itself; it tries again'),
    );

  async function readAll(): Promise<void> {
    changedMeanwhile = new Set();
    const fresh = new Map<string, string>();
    for await (const page of feed.pages()) for (const entry of page) put(fresh, entry);
    entries = fresh;
    const changed = changedMeanwhile;
    changedMeanwhile = undefined;
    await readSome([...changed]);
  }

  async function readSome(serials: readonly string[]): Promise<void> {
    const found = await feed.read(serials);
    const gone = new Set(serials);
    for (const entry of found) {
      put(entries, entry);
      gone.delete(entry.serial);
    }
    for (const serial of gone) entries.delete(serial);
  }

  function put(into: Map<string, string>, { serial, tokenHash, sealedKeys }: RosterEntry): void {
    if (!tokenHash.startsWith(hashPrefix)) return;
    const hash = Buffer.from(tokenHash.slice(hashPrefix.length), 'hex');
    const sealed = Buffer.from(sealedKeys?.[gateway.id] ?? '', 'base64url');
    into.set(serial, Buffer.concat([hash, sealed]).toString('latin1'));
  }

  /** One reading at a time; what was missed during one is found by the next. */
  async function readAlone(): Promise<void> {
    if (reading) {
      again = true;
      return;
    }
    reading = true;
    try {
      do {
        again = false;
        await readAll();
      } while (again);
    } finally {
      reading = false;
    }
  }

  await feed.listen(
    (serials) => {
      if (closed) return;
      for (const serial of serials) changedMeanwhile?.add(serial);
      readSome(serials).catch((err: unknown) => log.warn({ err }, 'a change of the roster could not be read'));
    },
    () => {
      if (closed || !listening) return;
      introduceAgain();
      readAlone().catch((err: unknown) =>
        log.warn({ err }, 'the roster could not be read; it is read again when Redis is back'),
      );
    },
  );
  listening = true;
  await announceGateway();
  const timer = setInterval(introduceAgain, againMs);
  timer.unref();
  await readAlone();
  log.info({ devices: entries.size, gateway: gateway.id }, 'the roster is read');

  // a serial without keys costs what one with keys does: keys are opened, and thrown away
  const decoys = new Map<string, string>();
  const sealedKeys = sealDeviceKeys(decoySerial, decoySerial, [gateway]);
  put(decoys, { serial: decoySerial, tokenHash: hashToken(decoySerial), sealedKeys });
  const decoy = decoys.get(decoySerial) ?? '';

  return {
    matchesToken(serial, tokenHash) {
      const entry = entries.get(serial);
      return entry !== undefined && `${hashPrefix}${hashOf(entry)}` === tokenHash;
    },
    keysOf(serial) {
      const entry = entries.get(serial);
      const has = entry !== undefined && entry.length > hashBytes;
      const [name, text] = has ? [serial, entry] : [decoySerial, decoy];
      const tokenHash = `${hashPrefix}${hashOf(text)}`;
      const keys = openDeviceKeys(pair, name, tokenHash, Buffer.from(text.slice(hashBytes), 'latin1'));
      return has && keys !== undefined ? { tokenHash, keys } : undefined;
    },
    requestLookup(serial) {
      const now = Date.now();
      if (now - inquiredAt < inquiryMs) return;
      inquiredAt = now;
      feed
        .requestLookup(serial)
        .catch((err: unknown) => log.debug({ err, serial }, 'could not inquire after a serial'));
    },
    size: () => entries.size,
    close() {
      closed = true;
      clearInterval(timer);
    },
  };
}

function hashOf(entry: string): string {
  return Buffer.from(entry.slice(0, hashBytes), 'latin1').toString('hex');
}

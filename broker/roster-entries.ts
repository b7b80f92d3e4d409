import { hashToken } from '../protocol/token.ts';
import type { RosterEntry } from '../queue/roster.ts';
import {
  type DeviceKeys,
  type GatewayKey,
  gatewayIdOf,
  openDeviceKeys,
  sealDeviceKeys,
} from '../sealing/device-keys.ts';
import type { KeyPair } from '../sealing/hpke.ts';

const hashBytes = 32;
const hashPrefix = 'sha256:';
const decoySerial = 'decoy';

/**
 * The roster in memory: for each serial the hash of its token and its keys, still sealed, packed into one string of bytes.
 * 100,000 devices take 30 MB. @param pair opens the keys that were sealed to this gateway
 */
export function createRosterEntries(pair: KeyPair) {
  const gateway: GatewayKey = { id: gatewayIdOf(pair.publicKey), publicKey: pair.publicKey.toString('base64url') };
  const sealedDecoy = sealDeviceKeys(decoySerial, decoySerial, [gateway]);
  const decoy = pack({ serial: decoySerial, tokenHash: hashToken(decoySerial), sealedKeys: sealedDecoy }) ?? '';
  let entries = new Map<string, string>();

  /** undefined for an entry of an unknown form */
  function pack({ tokenHash, sealedKeys }: RosterEntry): string | undefined {
    if (!tokenHash.startsWith(hashPrefix)) return undefined;
    const hash = Buffer.from(tokenHash.slice(hashPrefix.length), 'hex');
    const sealed = Buffer.from(sealedKeys?.[gateway.id] ?? '', 'base64url');
    return Buffer.concat([hash, sealed]).toString('latin1');
  }

  function put(into: Map<string, string>, entry: RosterEntry): void {
    const packed = pack(entry);
    if (packed !== undefined) into.set(entry.serial, packed);
  }

  return {
    gateway,
    /** Reads a whole roster; the old one is in use until the new one is complete. */
    async replaceAll(pages: AsyncIterable<readonly RosterEntry[]>): Promise<void> {
      const fresh = new Map<string, string>();
      for await (const page of pages) for (const entry of page) put(fresh, entry);
      entries = fresh;
    },
    /** Takes what the roster has for these serials now; those that it does not have are removed. */
    replaceSome(serials: readonly string[], found: readonly RosterEntry[]): void {
      const missing = new Set(serials);
      for (const entry of found) {
        put(entries, entry);
        missing.delete(entry.serial);
      }
      for (const serial of missing) entries.delete(serial);
    },
    matchesToken(serial: string, tokenHash: string): boolean {
      const entry = entries.get(serial);
      return entry !== undefined && tokenHashOf(entry) === tokenHash;
    },
    /** For a serial without keys it opens the decoy and drops it: the time must not tell which serials have keys. */
    keysOf(serial: string): { readonly tokenHash: string; readonly keys: DeviceKeys } | undefined {
      const entry = entries.get(serial);
      const hasKeys = entry !== undefined && entry.length > hashBytes;
      const [name, packed] = hasKeys ? [serial, entry] : [decoySerial, decoy];
      const tokenHash = tokenHashOf(packed);
      const keys = openDeviceKeys(pair, name, tokenHash, Buffer.from(packed.slice(hashBytes), 'latin1'));
      return hasKeys && keys !== undefined ? { tokenHash, keys } : undefined;
    },
    size: () => entries.size,
  };
}

function tokenHashOf(packed: string): string {
  return `${hashPrefix}${Buffer.from(packed.slice(0, hashBytes), 'latin1').toString('hex')}`;
}

import { hashToken } from '../protocol/token.ts';
import { latestEnd, type SignedRosterEntry, signedFieldsOf } from '../queue/roster.ts';
import { type DeviceKeys, earlierGatewayIdOf, openDeviceKeys, sealDeviceKeys } from '../sealing/device-keys.ts';
import type { OwnGateway } from '../sealing/gateway.ts';
import { isSigned } from '../sealing/signing.ts';

const hashBytes = 32;
const signatureBytes = 64;
const timeBytes = 6;
const noEnd = latestEnd + 1;
/** The hash of the token, the hash of all its sealed keys, and until when it is valid. */
const timeAt = 2 * hashBytes;
const signedBytes = timeAt + timeBytes;
const headBytes = signedBytes + signatureBytes;
const hashPrefix = 'sha256:';
const decoySerial = 'decoy';

/**
 * The roster in memory: for each serial the hash of its token, until when that is valid, and its keys, still sealed, with the table's signature, packed
 * into one string of bytes. 100,000 devices take 33 MB. A signature is checked when the entry is used, and not when it is
 * read: of 100,000 that would take 12 s.
 * @param options.tableKey the key of the table that must have signed an entry; undefined while there is none
 * @param options.onUnsigned is called for an entry that was about to be used and is not signed
 */
export function createRosterEntries(
  gateway: OwnGateway,
  { tableKey, onUnsigned }: { tableKey(): string | undefined; onUnsigned(serial: string): void },
) {
  const { pair, identity } = gateway;
  const earlierId = earlierGatewayIdOf(pair.publicKey);
  const decoy = pack(decoyFor(gateway)) ?? '';
  let entries = new Map<string, string>();

  /** undefined for an entry of an unknown form */
  function pack(entry: SignedRosterEntry): string | undefined {
    const { tokenHash, sealedKeys = {}, validUntil = noEnd, signature } = entry;
    if (!tokenHash.startsWith(hashPrefix)) return undefined;
    const hash = Buffer.from(tokenHash.slice(hashPrefix.length), 'hex');
    if (hash.length !== hashBytes) return undefined;
    const keys = Buffer.from(String(signedFieldsOf(entry).keys), 'base64url');
    const time = Buffer.alloc(timeBytes);
    time.writeUIntBE(validUntil, 0, timeBytes);
    const sealed = Buffer.from(sealedKeys[identity.id] ?? sealedKeys[earlierId] ?? '', 'base64url');
    return Buffer.concat([hash, keys, time, Buffer.from(signature, 'base64url'), sealed]).toString('latin1');
  }

  function isSignedByTable(serial: string, packed: string): boolean {
    const key = tableKey();
    if (key === undefined) return false;
    const fields = { serial, tokenHash: tokenHashOf(packed), keys: partOf(packed, hashBytes, timeAt) };
    const validUntil = validUntilOf(packed);
    const signed = validUntil === noEnd ? fields : { ...fields, validUntil };
    return isSigned(key, 'roster entry', signed, partOf(packed, signedBytes, headBytes));
  }

  /** The entry, if the table has signed it. */
  function find(serial: string): string | undefined {
    const entry = entries.get(serial);
    if (entry === undefined || isSignedByTable(serial, entry)) return entry;
    onUnsigned(serial);
    return undefined;
  }

  function put(into: Map<string, string>, entry: SignedRosterEntry): void {
    const packed = pack(entry);
    if (packed !== undefined) into.set(entry.serial, packed);
  }

  return {
    /** Reads a whole roster; the old one is in use until the new one is complete. */
    async replaceAll(pages: AsyncIterable<readonly SignedRosterEntry[]>): Promise<void> {
      const fresh = new Map<string, string>();
      for await (const page of pages) for (const entry of page) put(fresh, entry);
      entries = fresh;
    },
    /** Takes what the roster has for these serials now; those that it does not have are removed. */
    replaceSome(serials: readonly string[], found: readonly SignedRosterEntry[]): void {
      const missing = new Set(serials);
      for (const entry of found) {
        put(entries, entry);
        missing.delete(entry.serial);
      }
      for (const serial of missing) entries.delete(serial);
    },
    matchesToken(serial: string, tokenHash: string): boolean {
      const entry = entries.get(serial);
      return entry !== undefined && tokenHashOf(entry) === tokenHash && find(serial) !== undefined;
    },
    has: (serial: string): boolean => entries.has(serial),
    /**
     * Whether this is the serial's token, and can still get the device its certificate. It does not check the signature, since a
     * broker asks this of thousands of tokens, and of such that were found right. @param now epoch milliseconds
     */
    isCurrent(serial: string, tokenHash: string, now: number): boolean {
      const entry = entries.get(serial);
      return entry !== undefined && now < validUntilOf(entry) && tokenHashOf(entry) === tokenHash;
    },
    /** For a serial without keys it does the same with the decoy and drops it: the time must not tell which serials have keys. */
    keysOf(serial: string): { readonly tokenHash: string; readonly keys: DeviceKeys } | undefined {
      const hasKeys = (entries.get(serial)?.length ?? 0) > headBytes;
      const found = hasKeys ? find(serial) : undefined;
      if (!hasKeys) isSignedByTable(decoySerial, decoy);
      const [name, packed] = found === undefined ? [decoySerial, decoy] : [serial, found];
      const tokenHash = tokenHashOf(packed);
      const keys = openDeviceKeys(pair, name, tokenHash, Buffer.from(packed.slice(headBytes), 'latin1'));
      return found !== undefined && keys !== undefined ? { tokenHash, keys } : undefined;
    },
    size: () => entries.size,
  };
}

/** An entry that this gateway signed itself: to find that the table did not takes as long as to find that it did. */
function decoyFor({ identity, signingKey }: OwnGateway): SignedRosterEntry {
  const sealedKeys = sealDeviceKeys(decoySerial, decoySerial, [identity]);
  const entry = { serial: decoySerial, tokenHash: hashToken(decoySerial), sealedKeys };
  return { ...entry, signature: signingKey.sign('roster entry', signedFieldsOf(entry)) };
}

function tokenHashOf(packed: string): string {
  return `${hashPrefix}${Buffer.from(packed.slice(0, hashBytes), 'latin1').toString('hex')}`;
}

function validUntilOf(packed: string): number {
  return Buffer.from(packed.slice(timeAt, signedBytes), 'latin1').readUIntBE(0, timeBytes);
}

function partOf(packed: string, from: number, to: number): string {
  return Buffer.from(packed.slice(from, to), 'latin1').toString('base64url');
}

import { createHash } from 'node:crypto';
import { isByPsk } from './cipher-suites.ts';
import type { ClientHello } from './client-hello.ts';

/** Both in milliseconds. A client without a key ends at once; one that has lost its connection is noticed later. */
const [soonMs, rememberedMs] = [5000, 5 * 60_000];

/** So long after a connection of an address that went by certificate, chance decides about the next. Longer than devices wait between attempts. Milliseconds. */
const byChanceMs = 3_600_000;

/** Of each address, and addresses: one that makes up offers pushes out its own only. */
const [mostOfAddress, mostAddresses] = [8, 1000];

/** The cipher suites that a client offers, as a digest. */
export type PskOffering = string;

/**
 * @returns undefined unless a suite by pre-shared key is chosen although the client may have none: it offers TLS 1.2 at most, and
 * suites of both kinds. In TLS 1.3 a client names its key before anything is chosen.
 */
export function pskOfferingOf({ suites, tls13 }: ClientHello): PskOffering | undefined {
  if (tls13 || !suites.some(isByPsk) || suites.every(isByPsk)) return undefined;
  return createHash('sha256').update(suites.join()).digest('base64url');
}

/**
 * Clients that offer suites by pre-shared key without having a key, and so end the handshake when one is chosen: wolfSSL (seen with
 * 5.5), and mbedTLS of the time of 2.16. Nothing in their offer tells it, so their next connection from the same address, with the
 * same offer, goes by certificate. The one after that does not: another device behind the address may have a key. Nor does every other one, by
 * chance, that comes soon after one that did: a neighbour behind the address could end a handshake before each attempt of a device with a key, and
 * that device would never be asked for it.
 */
export function createKeylessClients(now: () => number = () => performance.now(), random: () => number = Math.random) {
  /** the oldest first */
  const addresses = new Map<string, OfAddress>();
  return {
    /**
     * A client has ended its handshake without naming a key. @param begunAt when it came, by the same clock
     * @returns whether it did so soon enough to have none, and is remembered
     */
    ended(address: string, offering: PskOffering, begunAt: number): boolean {
      if (now() - begunAt > soonMs) return false;
      const known = addresses.get(address) ?? { until: new Map(), takenAt: Number.NEGATIVE_INFINITY };
      addresses.delete(address);
      setNewest(addresses, address, known, mostAddresses);
      known.until.delete(offering);
      setNewest(known.until, offering, now() + rememberedMs, mostOfAddress);
      return true;
    },
    /** Whether this connection is to go by certificate. If so, that is forgotten. */
    take(address: string, offering: PskOffering): boolean {
      const known = addresses.get(address);
      if (known === undefined || (known.until.get(offering) ?? Number.NEGATIVE_INFINITY) <= now()) return false;
      if (now() - known.takenAt < byChanceMs && random() < 0.5) return false;
      known.until.delete(offering);
      known.takenAt = now();
      return true;
    },
  };
}

/** `until`: by offer, the oldest first. `takenAt`: its last connection by certificate. It outlives the offers, which a neighbour can push out. */
type OfAddress = { readonly until: Map<PskOffering, number>; takenAt: number };

/** Adds a key that is not there, and forgets the oldest beyond `most`. */
function setNewest<Key, Value>(map: Map<Key, Value>, key: Key, value: Value, most: number): void {
  const [oldest] = map.keys();
  if (map.size >= most && oldest !== undefined) map.delete(oldest);
  map.set(key, value);
}

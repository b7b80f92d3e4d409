import { isIPv6 } from 'node:net';

/** What a connection looks like to admission: something that can be cut. */
export type Admitted = { destroy(): unknown };

export type AdmissionLimits = {
  /** connections in total */
  readonly maxConnections: number;
  /** connections of one address */
  readonly maxConnectionsPerAddress: number;
  /** connections that have not come to their CONNECT yet, in total and of one address */
  readonly maxPending: number;
  readonly maxPendingPerAddress: number;
};

/** The place of one connection, from its first packet to its end. Each step may be repeated, and none goes back. */
export type ConnectionSlot = {
  /** It has come as far as its CONNECT. */
  connected(): void;
  /** It has proved the token of a device of this site: from now on it is not cut for the sake of another. */
  proven(): void;
  closed(): void;
};

type Place = { readonly socket: Admitted; readonly of: Address };
type Address = { readonly name: string; all: number; pending: number };

/**
 * Who may connect. Connections that have said nothing cost an attacker nothing, so they are few. When there is no place
 * left, the oldest of those goes that has come the least far: before its CONNECT, then without having proved a token. An
 * honest device needs such a place for a moment, one that is slow on purpose for as long as it can. Devices that have
 * proved their token are not touched.
 */
export function createAdmission(limits: AdmissionLimits) {
  /** those that may have to go, in the order in which they came that far */
  const [pending, unproven] = [new Set<Place>(), new Set<Place>()];
  const addresses = new Map<string, Address>();
  const open = new Set<Place>();
  const counts = { refused: 0, evicted: 0 };

  function leavePending(place: Place): void {
    if (pending.delete(place)) place.of.pending--;
  }

  function close(place: Place): void {
    leavePending(place);
    unproven.delete(place);
    if (!open.delete(place)) return;
    place.of.all--;
    if (place.of.all === 0) addresses.delete(place.of.name);
  }

  /** Makes a place free, of one address or of anybody. @returns whether there was one */
  function evict(from: readonly Set<Place>[], of?: Address): boolean {
    for (const places of from)
      for (const place of places) {
        if (of !== undefined && place.of !== of) continue;
        counts.evicted++;
        close(place);
        place.socket.destroy();
        return true;
      }
    return false;
  }

  /** @returns false when nobody may have to go for it */
  function makeRoom(of: Address): boolean {
    const mayGo = [pending, unproven];
    if (of.all >= limits.maxConnectionsPerAddress && !evict(mayGo, of)) return false;
    if (open.size >= limits.maxConnections && !evict(mayGo)) return false;
    if (of.pending >= limits.maxPendingPerAddress) evict([pending], of);
    else if (pending.size >= limits.maxPending) evict([pending]);
    return true;
  }

  return {
    /** @returns undefined when there is no place for it; whoever asked cuts it then */
    admit(socket: Admitted, remoteAddress: string | undefined): ConnectionSlot | undefined {
      const name = groupOf(remoteAddress);
      const of = addresses.get(name) ?? { name, all: 0, pending: 0 };
      if (!makeRoom(of)) {
        counts.refused++;
        return undefined;
      }
      const place = { socket, of };
      of.all++;
      of.pending++;
      addresses.set(name, of);
      open.add(place);
      pending.add(place);
      return {
        connected() {
          if (pending.has(place)) unproven.add(place);
          leavePending(place);
        },
        proven() {
          leavePending(place);
          unproven.delete(place);
        },
        closed: () => close(place),
      };
    },
    /** how many are open, wait for their CONNECT, have proved nothing after it, were refused a place, and lost theirs */
    counts: () => ({ open: open.size, pending: pending.size, unproven: unproven.size, ...counts }),
  };
}

/** An IPv4 address, or the /64 that one IPv6 subscriber has to himself (RFC 6177). */
export function groupOf(address = ''): string {
  if (!isIPv6(address)) return address;
  if (address.startsWith('::ffff:')) return address.slice('::ffff:'.length);
  const [head = '', tail] = address.split('::');
  const left = head === '' ? [] : head.split(':');
  const right = tail === undefined || tail === '' ? [] : tail.split(':');
  const zeros = tail === undefined ? 0 : 8 - left.length - right.length;
  const groups = [...left, ...Array.from({ length: zeros }, () => '0'), ...right];
  return groups.slice(0, 4).join(':');
}

import { groupOf } from '../../runtime/addresses.ts';

/** What admission needs of a connection: something to destroy. */
export type Admitted = { destroy(reason: string): unknown };

export type AdmissionLimits = {
  /** connections in total */
  readonly maxConnections: number;
  /** connections of one address */
  readonly maxConnectionsPerAddress: number;
  /** connections that have had their turn at the handshake and have not sent their CONNECT yet, in total and of one address */
  readonly maxPending: number;
  readonly maxPendingPerAddress: number;
  /** connections that have verified their token for the same serial */
  readonly maxConnectionsPerSerial: number;
};

/** The verified token of a device, which gives its connection a better right to its slot. */
export type Right = {
  readonly serial: string;
  /** The token can still get the device its certificate. */
  isCurrent(): boolean;
  /** It cannot any more: the connection stays, with the rights of a stranger. */
  onLost(): void;
};

/** The slot of one connection, from TCP accept to its close. Each step may be repeated. */
export type ConnectionSlot = {
  /** what limits count the connection under: `groupOf` its remote address */
  readonly address: string;
  /** It has its turn at the TLS handshake: from now on it costs memory. */
  begun(): void;
  /** It has sent its CONNECT. */
  connected(): void;
  /** From now on only newer connections of the same device evict it, until a review finds that its token is not current. */
  verified(right: Right): void;
  closed(): void;
};

/** Which limit leaves no free slot: of all connections, or of those of the address. */
export type FullLimit = 'total' | 'address';

type Holder = { readonly socket: Admitted; readonly address: Address; right: Right | undefined };
/** `pending`: how many of those before their CONNECT have had their turn at the handshake */
type Address = Classes & { readonly name: string; all: number; pending: number };
/** how many are before their CONNECT, and after it without a verified token */
type Classes = { before: number; connected: number };

const forNewer = 'its slot is needed for a newer connection, and it has proved no token that is current';
const ofDevice = 'its device has too many connections: this one is the oldest';

/**
 * Limits the connections, in total and by address. When no slot is left, the oldest connection of the larger class is evicted:
 * those before their CONNECT, or those after it without a verified token, of which the ones whose token was current and is not any
 * more go first. So an attacker who holds thousands of slots of either class loses their own, and an honest device, which needs such a
 * slot for a moment, is not the oldest before it has passed on. Those that wait for their turn at the handshake cost a socket only, so all
 * slots may be theirs: when all devices of a site come at once, none is closed for the next one. They are one class with those that
 * have had it, since in a small class that many enter a connection is soon the oldest. A connection with a verified token is evicted by
 * newer ones of the same device only: a device needs one, and the holder of one token must not take the slots of all.
 */
export function createAdmission(limits: AdmissionLimits) {
  /** those that may be evicted, oldest first */
  const before = new Set<Holder>();
  /** those that have had their turn at the handshake, by that */
  const pending = new Set<Holder>();
  const [over, unverified] = [new Set<Holder>(), new Set<Holder>()];
  const addresses = new Map<string, Address>();
  /** those with a verified token, oldest first */
  const bySerial = new Map<string, Set<Holder>>();
  const open = new Set<Holder>();
  const counts = { admitted: 0, refused: 0, refusedOfAddress: 0, evicted: 0, crowdedOut: 0 };

  function leavePending(holder: Holder): void {
    if (before.delete(holder)) holder.address.before--;
    if (pending.delete(holder)) holder.address.pending--;
  }

  function close(holder: Holder): void {
    leaveEvictable(holder);
    if (!open.delete(holder)) return;
    leaveSerial(holder);
    holder.address.all--;
    if (holder.address.all === 0) addresses.delete(holder.address.name);
  }

  function leaveEvictable(holder: Holder): void {
    leavePending(holder);
    if (over.delete(holder) || unverified.delete(holder)) holder.address.connected--;
  }

  function leaveSerial(holder: Holder): void {
    if (holder.right === undefined) return;
    const { serial } = holder.right;
    holder.right = undefined;
    const own = bySerial.get(serial);
    own?.delete(holder);
    if (own?.size === 0) bySerial.delete(serial);
  }

  function verify(holder: Holder, right: Right): void {
    if (!open.has(holder) || holder.right !== undefined) return;
    leaveEvictable(holder);
    holder.right = right;
    const own = bySerial.get(right.serial) ?? new Set();
    bySerial.set(right.serial, own.add(holder));
    const [oldest] = own;
    if (own.size > limits.maxConnectionsPerSerial && oldest !== undefined) evictOne(oldest, ofDevice);
  }

  function review(holder: Holder): void {
    const { right } = holder;
    if (right === undefined || right.isCurrent()) return;
    leaveSerial(holder);
    over.add(holder);
    holder.address.connected++;
    right.onLost();
  }

  function evictOne(holder: Holder, reason: string): void {
    counts.evicted++;
    close(holder);
    holder.socket.destroy(reason);
  }

  /** Closes one connection, of the given address or of any, to free its slot. @returns whether there was one to close */
  function evict(from: readonly Set<Holder>[], address?: Address): boolean {
    for (const holders of from)
      for (const holder of holders) {
        if (address !== undefined && holder.address !== address) continue;
        evictOne(holder, forNewer);
        return true;
      }
    return false;
  }

  function orderFor(classes: Classes): readonly Set<Holder>[] {
    return classes.before > classes.connected ? [before, over, unverified] : [over, unverified, before];
  }

  /** Connections after their CONNECT may be devices. Those of one address that has all its slots crowd out each other only. */
  function evictForAny(): boolean {
    const order = orderFor({ before: before.size, connected: over.size + unverified.size });
    if (order.find(({ size }) => size > 0) === unverified) counts.crowdedOut++;
    return evict(order);
  }

  function fullLimit(address: Address | undefined): FullLimit | undefined {
    if ((address?.all ?? 0) >= limits.maxConnectionsPerAddress) return 'address';
    return open.size >= limits.maxConnections ? 'total' : undefined;
  }

  /** @returns false when there is no slot and none may be evicted */
  function makeRoom(address: Address): boolean {
    if (fullLimit(address) === 'address' && !evict(orderFor(address), address)) return false;
    if (fullLimit(address) === 'total' && !evictForAny()) return false;
    return true;
  }

  function begin(holder: Holder): void {
    if (!before.has(holder) || pending.has(holder)) return;
    const { address } = holder;
    if (address.pending >= limits.maxPendingPerAddress) evict([pending], address);
    else if (pending.size >= limits.maxPending) evict([pending]);
    pending.add(holder);
    address.pending++;
  }

  return {
    /** @returns undefined when there is no slot for it; the caller destroys it then */
    admit(socket: Admitted, remoteAddress: string | undefined): ConnectionSlot | undefined {
      const name = groupOf(remoteAddress);
      const address = addresses.get(name) ?? { name, all: 0, before: 0, pending: 0, connected: 0 };
      if (!makeRoom(address)) {
        counts.refused++;
        if (fullLimit(address) === 'address') counts.refusedOfAddress++;
        return undefined;
      }
      counts.admitted++;
      const holder: Holder = { socket, address, right: undefined };
      address.all++;
      address.before++;
      addresses.set(name, address);
      open.add(holder);
      before.add(holder);
      return {
        address: name,
        begun: () => begin(holder),
        connected() {
          if (!before.has(holder)) return;
          leavePending(holder);
          unverified.add(holder);
          address.connected++;
        },
        verified: (right) => verify(holder, right),
        closed: () => close(holder),
      };
    },
    /** Which limit would make a connection of this address close another one, or be refused. */
    fullLimit: (remoteAddress: string): FullLimit | undefined => fullLimit(addresses.get(groupOf(remoteAddress))),
    /** Looks again at the connections with a verified token, of these devices or of all. */
    review(serials: Iterable<string> = bySerial.keys()): void {
      for (const serial of [...serials]) for (const holder of [...(bySerial.get(serial) ?? [])]) review(holder);
    },
    /**
     * now: open, waiting for their turn at the handshake, pending (after their turn and before their CONNECT), without a verified token
     * after their CONNECT; since the start: admitted, refused (and of those for lack of a slot of their address), evicted, and of those
     * after their CONNECT because all slots were taken
     */
    counts: () => ({
      open: open.size,
      waiting: before.size - pending.size,
      pending: pending.size,
      unverified: unverified.size + over.size,
      ...counts,
    }),
  };
}

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

/** The connection of one socket, from its first packet to its end. */
export type Ticket = {
  /** It has come as far as its CONNECT: no longer one that only holds a place. */
  connected(): void;
  closed(): void;
};

/**
 * Who may connect. Connections that have said nothing cost an attacker nothing, so they are few, and when there is no
 * place left the oldest of them goes: an honest device needs its place for a moment, one that is slow on purpose for as
 * long as it can. Devices that are being served are not touched.
 */
export function createAdmission(limits: AdmissionLimits) {
  /** in the order in which they came */
  const pending = new Map<Admitted, string>();
  const open = new Map<string, { all: number; pending: number }>();
  let all = 0;
  const counts = { refused: 0, evicted: 0 };

  function leavePending(socket: Admitted, group: string): void {
    if (!pending.delete(socket)) return;
    const of = open.get(group);
    if (of !== undefined) of.pending--;
  }

  function evict(group?: string): void {
    for (const [socket, of] of pending) {
      if (group !== undefined && of !== group) continue;
      counts.evicted++;
      leavePending(socket, of);
      socket.destroy();
      return;
    }
  }

  return {
    /** @returns undefined when there is no place for it; whoever asked cuts it then */
    admit(socket: Admitted, address: string | undefined): Ticket | undefined {
      const group = groupOf(address);
      const of = open.get(group) ?? { all: 0, pending: 0 };
      if (all >= limits.maxConnections || of.all >= limits.maxConnectionsPerAddress) {
        counts.refused++;
        return undefined;
      }
      if (of.pending >= limits.maxPendingPerAddress) evict(group);
      else if (pending.size >= limits.maxPending) evict();
      all++;
      of.all++;
      of.pending++;
      open.set(group, of);
      pending.set(socket, group);
      let ended = false;
      return {
        connected: () => leavePending(socket, group),
        closed() {
          if (ended) return;
          ended = true;
          leavePending(socket, group);
          all--;
          of.all--;
          if (of.all === 0) open.delete(group);
        },
      };
    },
    /** how many are open, wait for their CONNECT, were refused a place, and lost theirs */
    counts: () => ({ open: all, pending: pending.size, ...counts }),
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

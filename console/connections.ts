import type { Server, Socket } from 'node:net';
import { RateLimiterMemory } from 'rate-limiter-flexible';
import { groupOf } from '../runtime/addresses.ts';
import { plainAddress } from './caller.ts';

/**
 * Of all, and of one address (of IPv6 a /64). A browser has six to a server; an office behind one address has some browsers. `newOfAddress`: in 10 s.
 * A handshake of TLS costs some 1 ms of CPU, so an address that does nothing else takes 3 % of a core.
 */
export const usualConnectionLimits = { all: 256, ofAddress: 64, newOfAddress: 300 };
export type ConnectionLimits = typeof usualConnectionLimits;

type Connection = { readonly socket: Socket; readonly group: string; isKept: boolean };

/** The console sees the TLS side of a connection, and the server its TCP side: they have the same port. */
const nameOf = ({ remoteAddress = '', remotePort = 0 }: Pick<Socket, 'remoteAddress' | 'remotePort'>) =>
  `${remoteAddress} ${remotePort}`;

/**
 * Limits the connections of the console, in all and of one address, so that strangers cannot take all of them. When all are taken, a new one is
 * still let in: of the address with the most connections, the oldest one without a signed-in person is closed.
 * @param isProxy an address that stands for many persons, and has no limit of its own
 */
export function limitConnections(server: Server, limits: ConnectionLimits, isProxy: (address: string) => boolean) {
  const open = new Map<string, Connection>();
  const pace = new RateLimiterMemory({ points: limits.newOfAddress, duration: 10 });
  // those that give way are still closing: without this, a flood could have more than its places
  server.maxConnections = 2 * limits.all;

  const sizes = () => {
    const counts = new Map<string, number>();
    for (const { group } of open.values()) counts.set(group, (counts.get(group) ?? 0) + 1);
    return counts;
  };

  function whoGivesWay(newest: Connection): Connection {
    const counts = sizes();
    const most = (one: Connection) => counts.get(one.group) ?? 0;
    let chosen: Connection | undefined;
    for (const each of open.values())
      if (!each.isKept && each !== newest && (chosen === undefined || most(each) > most(chosen))) chosen = each;
    return chosen ?? newest;
  }

  function close(name: string, { socket }: Connection): void {
    open.delete(name);
    socket.destroy();
  }

  server.on('connection', (socket: Socket) => {
    const [name, address] = [nameOf(socket), plainAddress(socket.remoteAddress)];
    const connection = { socket, group: groupOf(address), isKept: false };
    if (!isProxy(address) && (sizes().get(connection.group) ?? 0) >= limits.ofAddress) {
      socket.destroy();
      return;
    }
    // before the first byte of its handshake is read
    if (!isProxy(address)) pace.consume(connection.group).catch(() => close(name, connection));
    open.set(name, connection);
    socket.on('close', () => {
      if (open.get(name) === connection) open.delete(name);
    });
    if (open.size <= limits.all) return;
    const gone = whoGivesWay(connection);
    close(nameOf(gone.socket), gone);
  });

  return {
    /** A person is signed in on this connection: it is never closed for another one. */
    keep(socket: Pick<Socket, 'remoteAddress' | 'remotePort'>): void {
      const found = open.get(nameOf(socket));
      if (found !== undefined) found.isKept = true;
    },
  };
}

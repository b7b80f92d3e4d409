import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createServer as createSecureServer, type TLSSocket } from 'node:tls';
import type { Log } from '../../runtime/log.ts';
import type { Limits } from '../limits.ts';
import type { Roster } from '../roster.ts';
import { type ConnectionSlot, createAdmission, groupOf } from './admission.ts';
import { contextOptions, type TlsSuites } from './cipher-suites.ts';
import { type GuardedStream, guardFrames } from './frame-guard.ts';
import { createHandshakeLimiter } from './handshake-limiter.ts';
import { createPskAuthenticator, type PskIdentity } from './psk.ts';

/** Who came in: its MQTT packets, its place, and what its TLS handshake has proven. */
export type Connection = {
  readonly stream: GuardedStream;
  readonly slot: ConnectionSlot;
  readonly psk: PskIdentity | undefined;
};

/** PEM */
export type ServerTls = { readonly key: string; readonly cert: string };

/** A connection on its way in. */
type Entrant = { readonly ticket: ConnectionSlot; leaveTurnstile(): void };

/**
 * The way in, from a TCP connection to a stream of MQTT packets: a place, a turn at the handshake, TLS by certificate or
 * pre-shared key, the frame guard. Whoever comes through is handed to `enter`.
 */
export function createDeviceListener(options: {
  tls: ServerTls;
  suites: TlsSuites;
  limits: Limits;
  roster: Pick<Roster, 'keysOf'>;
  counts: { connections: number; connectionsOpen: number };
  log: Log;
  enter(arrival: Connection): void;
}) {
  const { limits, counts, log, enter } = options;
  const context = contextOptions(options.suites);
  const psk = createPskAuthenticator(options.roster);
  const admission = createAdmission(limits);
  const turnstile = createHandshakeLimiter(limits.maxHandshakes);
  const sockets = new Set<Socket>();
  /** by the two ends of a connection, which TLS and TCP know it by */
  const entrants = new Map<string, Entrant>();

  const secured = createSecureServer(
    { ...options.tls, ...context, handshakeTimeout: limits.handshakeMs, pskCallback: psk.callback },
    acceptTls,
  );
  // Node reports a handshake that failed or took too long, and leaves the socket open
  secured.on('tlsClientError', (err, socket) => {
    log.debug({ remoteAddress: socket.remoteAddress, err }, 'TLS handshake failed');
    psk.forget(socket);
    socket.destroy();
  });
  // before the handshake, which costs more than anything that follows
  const server = createServer({ noDelay: true }, acceptTcp);

  function acceptTcp(socket: Socket): void {
    // until TLS takes it over nobody else listens, and a reset in the line would end the process
    socket.on('error', (err) => log.debug({ err }, 'connection ended before TLS'));
    const ends = endsOf(socket);
    const ticket = ends === undefined ? undefined : admission.admit(socket, socket.remoteAddress);
    if (ends === undefined || ticket === undefined) {
      log.debug({ remoteAddress: socket.remoteAddress }, 'no place for another connection');
      socket.destroy();
      return;
    }
    sockets.add(socket);
    counts.connections++;
    counts.connectionsOpen++;
    const leaveTurnstile = turnstile.enter(groupOf(socket.remoteAddress), () => {
      // who is gone leaves by its close
      if (socket.destroyed) return;
      setTimeout(() => leaveTurnstile(), limits.handshakeTurnMs).unref();
      secured.emit('connection', socket);
    });
    const entrant = { ticket, leaveTurnstile };
    entrants.set(ends, entrant);
    socket.once('close', () => {
      leaveTurnstile();
      // the same ends may be another connection's by now
      if (entrants.get(ends) === entrant) entrants.delete(ends);
      sockets.delete(socket);
      counts.connectionsOpen--;
      ticket.closed();
    });
  }

  function acceptTls(socket: TLSSocket): void {
    const { remoteAddress } = socket;
    const entrant = entrants.get(endsOf(socket) ?? '');
    // reset right after its handshake: it is on its way out
    if (entrant === undefined) {
      socket.destroy();
      return;
    }
    entrant.leaveTurnstile();
    socket.setNoDelay(true);
    const stream = guardFrames(socket, limits, (reason) =>
      log.warn({ remoteAddress, reason }, 'connection closed: not acceptable MQTT'),
    );
    enter({ stream, slot: entrant.ticket, psk: psk.provenBy(socket) });
  }

  return {
    /** @returns the port. @throws when it cannot be taken */
    async listen(port: number, host: string): Promise<number> {
      await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, host, resolve));
      server.removeAllListeners('error').on('error', (err) => log.error({ err }, 'a connection could not be taken'));
      return (server.address() as AddressInfo).port;
    },
    /** From the next handshake on; connections stay. */
    useTls: ({ key, cert }: ServerTls) => secured.setSecureContext({ key, cert, ...context }),
    /** Nobody comes in any more; resolves when everybody has left. `cut` ends those who do not leave by themselves. */
    close() {
      const left = new Promise<void>((resolve) => server.close(() => resolve()));
      return {
        async cut() {
          for (const socket of sockets) socket.destroy();
          await left;
        },
      };
    },
  };
}

/** The two ends of a connection; undefined when it is gone already. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string | undefined {
  return remoteAddress && `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

import { type AddressInfo, createServer, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { createServer as createSecureServer, type Server, type TLSSocket } from 'node:tls';
import { isSerial } from '../../protocol/serial.ts';
import { type AddressList, groupOf } from '../../runtime/addresses.ts';
import type { Log } from '../../runtime/log.ts';
import type { Metrics } from '../../telemetry/metrics.ts';
import type { Limits } from '../limits.ts';
import { codes } from '../mqtt5/reason-codes.ts';
import type { Roster } from '../roster.ts';
import { createAddressPaces } from './address-pace.ts';
import { createAdmission, type FullLimit } from './admission.ts';
import { boundedBelow, handOverBounded } from './bounded-handshake.ts';
import { contextOptions, type TlsSuites } from './cipher-suites.ts';
import { claimOf } from './claim.ts';
import { readClientHello } from './client-hello.ts';
import { attachConnection, Connection } from './connection.ts';
import { onFirstBytes, whyNotTls } from './first-bytes.ts';
import { FrameGuard } from './frame-guard.ts';
import {
  type HandshakeFailure,
  isEndedByClient,
  noKeyForSuite,
  whyHandshakeFailed,
  whyKeyUnused,
} from './handshake-failure.ts';
import { createHandshakeLimiter } from './handshake-limiter.ts';
import { takeTurn } from './handshake-turn.ts';
import { offersHttp } from './http-clients.ts';
import { createKeylessClients, pskOfferingOf } from './keyless-clients.ts';
import { PacketPace } from './packet-pace.ts';
import { readProxyHeader, secondHeader, unexpectedHeader } from './proxy-header.ts';
import { createPskAuthenticator } from './psk.ts';
import { createSilentConnections } from './silent-connections.ts';
import { ticketDay, ticketKeysOf } from './ticket-keys.ts';

/**
 * Connections that the kernel queues until they are accepted: a site comes within a second. It takes `net.core.somaxconn` at most. All of them may be
 * accepted in one turn of the event loop, so they must not be enough to evict all that wait for their turn: half of the slots, but no
 * fewer than Node's own number.
 */
const backlogOf = ({ maxConnections }: Limits) => Math.min(4096, Math.max(511, Math.floor(maxConnections / 2)));

const noSlot = {
  total: 'there is no slot for another connection (CVM_MAX_CONNECTIONS)',
  address: 'there is no slot for another connection of its address (CVM_MAX_CONNECTIONS_PER_ADDRESS)',
};

/** Of this machine: health checks come from here, `cvm health` among them. */
const loopback: readonly string[] = ['127.0.0.1', '::1', '::ffff:127.0.0.1'];

/** PEM */
export type ServerTls = ServerChain & {
  /** for clients that cannot use the first: of another key type */
  readonly beside?: ServerChain;
  /** the CAs of claim certificates, in PEM; without them, clients are asked for no certificate */
  readonly claimCas?: readonly string[];
};
type ServerChain = { readonly key: string; readonly cert: string };

/** For Node.js, which serves one or the other by the client's offer. */
function certificatesOf({ key, cert, beside, claimCas }: ServerTls) {
  const chains = beside === undefined ? { key, cert } : { key: [key, beside.key], cert: [cert, beside.cert] };
  return claimCas === undefined ? chains : { ...chains, ca: [...claimCas] };
}

/** `serial`: one that the handshake named, and has not proved to be */
export type FailedConnection = Pick<Connection, 'remoteAddress' | 'address'> & { readonly serial?: string | undefined };

export type TurnedAwayCounts = Readonly<Record<FullLimit, number>>;

type ListenerMetrics = Pick<
  Metrics,
  | 'connections'
  | 'connectionsOpen'
  | 'connectionsRefused'
  | 'connectionsEvicted'
  | 'handshakesWaiting'
  | 'handshakesFailed'
>;

/**
 * The way of a device into the broker, from TCP accept to a stream of MQTT packets: a slot, a turn at the TLS handshake, TLS
 * by certificate or pre-shared key, the frame guard. README.md draws it.
 */
export function createDeviceListener(options: {
  tls: ServerTls;
  suites: TlsSuites;
  limits: Limits;
  /** balancers: their connections begin with a PROXY protocol header, and its address counts */
  balancers: AddressList;
  roster: Pick<Roster, 'keysOf'>;
  metrics: ListenerMetrics;
  log: Log;
  /** takes a connection whose TLS handshake is done; `connectionOf(stream)` is the connection */
  onConnection(stream: Duplex): void;
  /** a connection that is closed: it got no slot, lost its slot, or sent no acceptable MQTT */
  /** `loud`: 'warn' for what the operator has to mend */
  onTurnedAway(
    connection: Pick<Connection, 'remoteAddress' | 'address'> & Partial<Connection>,
    reason: string,
    loud?: 'warn',
  ): void;
  /** a connection that is closed because its TLS handshake failed, or it began with something else */
  onHandshakeFailed(connection: FailedConnection, failure: HandshakeFailure): void;
  /** epoch milliseconds: session tickets are good for one day of UTC */
  now?: () => number;
}) {
  const { suites, limits, balancers, metrics, log, onConnection, onTurnedAway, onHandshakeFailed } = options;
  const { now = Date.now } = options;
  const psk = createPskAuthenticator(options.roster);
  const admission = createAdmission(limits);
  const addressPaces = createAddressPaces(limits.packetsOfAddress);
  const keylessClients = createKeylessClients();
  const handshakeLimiter = createHandshakeLimiter(limits);
  const sockets = new Set<Socket>();
  const withoutProxyHeader = createSilentConnections(limits.maxWithoutProxyHeader);
  const withoutSlot = createSilentConnections(limits.maxWithoutSlot);
  /**
   * By the two ends of a connection. Node makes the TLSSocket by itself and has no public way from it to the socket below;
   * both have the same two ends.
   */
  const connections = new Map<string, Connection>();
  /** By the socket below, for failed handshakes: when the other end has gone, a TLSSocket has no ends any more. */
  const handshaking = new WeakMap<Socket, Connection>();
  /** A handshake that this side broke off, to make room or to stop, is no failure of the device. */
  const closedHere = new WeakSet<Socket>();
  metrics.connections.readFrom(() => admission.counts().admitted);
  metrics.connectionsOpen.readFrom(() => sockets.size);
  metrics.connectionsRefused.readFrom(() => admission.counts().refused);
  metrics.connectionsEvicted.readFrom(() => admission.counts().evicted);
  metrics.handshakesWaiting.readFrom(handshakeLimiter.waiting);

  // before the handshake, which costs more than all that follows
  const server = createServer({ noDelay: true }, acceptTcp);
  const contexts = {
    keys: contextOptions(suites, 'keys'),
    tickets: contextOptions(suites, 'tickets'),
    neither: contextOptions(suites, 'neither'),
  };
  const takesClaims = options.tls.claimCas !== undefined;
  // a client without a certificate, or with one that is no claim certificate, proves itself in another way
  const handOver = takesClaims
    ? (server: Server, socket: Socket) => handOverBounded(server, socket, limits.handshakeBytes)
    : (server: Server, socket: Socket) => void server.emit('connection', socket);
  const asking = takesClaims ? { requestCert: true, rejectUnauthorized: false } : {};
  const common = { ...certificatesOf(options.tls), ...asking, handshakeTimeout: limits.handshakeMs };
  let tickets = { key: options.tls.key, day: ticketDay(now()) };
  /** Each handshake is for one of them: by pre-shared key, resumed by ticket, or neither; all serve certificates. */
  const servers = {
    keys: createSecureServer({ ...common, ...contexts.keys, pskCallback: keyFor }, (socket) =>
      acceptTls(socket, psk.identify),
    ),
    tickets: createSecureServer(
      { ...common, ...contexts.tickets, ticketKeys: ticketKeysOf(tickets.key, tickets.day) },
      (socket) => acceptTls(socket, () => undefined),
    ),
    neither: createSecureServer({ ...common, ...contexts.neither }, (socket) => acceptTls(socket, () => undefined)),
  };
  for (const each of Object.values(servers)) each.on('tlsClientError', onHandshakeError);

  /** Node reports a handshake that failed or took too long, and leaves the socket open. */
  function onHandshakeError(err: NodeJS.ErrnoException, socket: TLSSocket): void {
    metrics.handshakesFailed.inc();
    const below = socketBelow(socket);
    const connection = below && handshaking.get(below);
    log.debug({ remoteAddress: connection?.remoteAddress, err }, 'TLS handshake failed');
    if (below !== undefined && connection !== undefined && !closedHere.has(below)) {
      const { remoteAddress, address, handshake } = connection;
      const failure = lacksKey(connection, err.code ?? '')
        ? noKeyForSuite
        : whyHandshakeFailed(err.code ?? '', handshake);
      onHandshakeFailed({ remoteAddress, address, serial: handshake.serial }, failure);
    }
    socket.destroy();
  }

  function lacksKey({ address, handshake }: Connection, code: string): boolean {
    const { pskOffering, begunAt = 0, named } = handshake;
    return (
      pskOffering !== undefined &&
      named === 0 &&
      isEndedByClient(code) &&
      keylessClients.ended(address, pskOffering, begunAt)
    );
  }

  function closeHere(socket: Socket): void {
    closedHere.add(socket);
    socket.destroy();
  }

  // one for all connections: what each of thousands has costs memory
  const logEnd = (err: Error) => log.debug({ err }, 'connection ended before TLS');
  function forget(this: Socket): void {
    sockets.delete(this);
  }

  function acceptTcp(socket: Socket): void {
    // until TLS takes the socket over nothing else listens to it, and a reset meanwhile would end the process
    socket.on('error', logEnd);
    const { remoteAddress } = socket;
    if (remoteAddress === undefined) {
      socket.destroy();
      return;
    }
    sockets.add(socket);
    socket.on('close', forget);
    if (balancers.has(remoteAddress)) acceptProxied(socket, remoteAddress);
    else acceptDirect(socket, remoteAddress);
  }

  /**
   * A health check of this machine connects and says nothing. When all slots are taken, it must not close the connection of a
   * device, nor be taken for a device that was turned away: so the connection asks for a slot when it has sent a byte.
   */
  function acceptDirect(socket: Socket, remoteAddress: string): void {
    const headerProblem = (begin: Buffer) => unexpectedHeader(begin, remoteAddress.replace(/^::ffff:/, ''));
    if (!loopback.includes(remoteAddress) || admission.fullLimit(remoteAddress) === undefined) {
      admit(socket, remoteAddress, headerProblem);
      return;
    }
    withoutSlot.add(socket);
    const silence = setTimeout(() => socket.destroy(), limits.handshakeMs).unref();
    socket.once('close', () => clearTimeout(silence));
    onFirstBytes(socket, () => {
      clearTimeout(silence);
      withoutSlot.leave(socket);
      admit(socket, remoteAddress, headerProblem);
    });
  }

  /** A balancer stands for many addresses, so its connections are counted when they have said for which one. */
  function acceptProxied(socket: Socket, balancer: string): void {
    withoutProxyHeader.add(socket);
    readProxyHeader(socket, limits.proxyHeaderMs, (header) => {
      withoutProxyHeader.leave(socket);
      if ('reason' in header) turnAway(socket, balancer, header.reason);
      else admit(socket, header.address ?? balancer, secondHeader);
    });
  }

  function refuse(socket: Socket, connection: FailedConnection, reason: string): void {
    metrics.handshakesFailed.inc();
    onHandshakeFailed(connection, { fault: 'not-tls', reason });
    socket.destroy();
  }

  function turnAway(socket: Socket, remoteAddress: string, reason: string): void {
    // settings of the balancer and of this gateway do not fit, which concerns every device behind it
    onTurnedAway({ remoteAddress, address: groupOf(remoteAddress) }, reason, 'warn');
    socket.destroy();
  }

  /** @param headerProblem looks for a PROXY protocol header in the first bytes, which ends the connection */
  function admit(socket: Socket, remoteAddress: string, headerProblem: (begin: Buffer) => string | undefined): void {
    const ends = endsOf(socket);
    if (ends === undefined) {
      socket.destroy();
      return;
    }
    const evicted = (reason: string) => {
      const connection = connections.get(ends);
      connection?.farewell(codes.serverBusy, reason);
      if (connection !== undefined) onTurnedAway(connection, reason);
      closeHere(socket);
    };
    const slot = admission.admit({ destroy: evicted }, remoteAddress);
    if (slot === undefined) {
      turnAway(socket, remoteAddress, noSlot[admission.fullLimit(remoteAddress) ?? 'total']);
      return;
    }
    const ofAddress = addressPaces.join(slot.address);
    const connection = new Connection({ remoteAddress, slot, pace: new PacketPace(limits, ofAddress) });
    connections.set(ends, connection);
    handshaking.set(socket, connection);
    socket.on('close', () => {
      // the ends may belong to a newer connection by now
      if (connections.get(ends) === connection) connections.delete(ends);
      connection.endHandshake();
      psk.withdraw(connection.handshake);
      ofAddress.leave();
      slot.closed();
    });
    beginHandshake(socket, connection, headerProblem);
  }

  /** By itself, so that nothing of it is kept as long as the connection. @param headerProblem as for `admit` */
  function beginHandshake(
    socket: Socket,
    connection: Connection,
    headerProblem: (begin: Buffer) => string | undefined,
  ): void {
    const { remoteAddress, address, handshake, slot } = connection;
    handshake.release = takeTurn(socket, limits, {
      limiter: handshakeLimiter,
      slot,
      onBegin(begin) {
        // TLS would refuse these without a word about their cause
        const [problem, notTls] = [headerProblem(begin), whyNotTls(begin)];
        if (problem !== undefined) turnAway(socket, remoteAddress, problem);
        else if (notTls !== undefined) refuse(socket, { remoteAddress, address }, notTls);
        return serverFor(connection, begin);
      },
      handOver,
      onTooLate(reason) {
        onTurnedAway(connection, reason);
        closeHere(socket);
      },
    });
  }

  /** @param begin the first bytes */
  function serverFor({ address, handshake }: Connection, begin: Buffer): Server {
    const hello = readClientHello(begin);
    if (hello !== undefined && offersHttp(hello)) handshake.offersHttp = true;
    // in TLS 1.3 a client names its key before anything is chosen
    if (hello?.tls13 === true && !hello.identities.some(isSerial)) {
      handshake.namedNoSerial = hello.identities.some(isName);
      // a session that is resumed shows no certificate anew, so where they count there are no tickets
      return takesClaims ? servers.neither : ticketServer();
    }
    const pskOffering = hello && pskOfferingOf(hello);
    if (pskOffering !== undefined && keylessClients.take(address, pskOffering)) {
      handshake.withoutPsk = true;
      return servers.neither;
    }
    handshake.pskOffering = pskOffering;
    handshake.begunAt = performance.now();
    return servers.keys;
  }

  function ticketServer(): Server {
    const day = ticketDay(now());
    if (day !== tickets.day) {
      tickets = { ...tickets, day };
      servers.tickets.setTicketKeys(ticketKeysOf(tickets.key, day));
    }
    return servers.tickets;
  }

  function keyFor(socket: TLSSocket, identity: string): Buffer | null {
    const connection = connectionUnder(socket);
    return connection === undefined ? null : psk.keyFor(connection.handshake, identity);
  }

  /** @param identify which device the handshake has authenticated, where it can */
  function acceptTls(socket: TLSSocket, identify: typeof psk.identify): void {
    const connection = connectionUnder(socket);
    // reset right after its handshake: its `close` handler has run, or is about to
    if (connection === undefined) {
      socket.destroy();
      return;
    }
    connection.endHandshake();
    boundedBelow(socket)?.handshakeEnded();
    connection.psk = identify(connection.handshake, socket);
    if (takesClaims && connection.psk === undefined) connection.claim = claimOf(socket);
    if (connection.psk === undefined && !socket.isSessionReused())
      connection.keyUnused = whyKeyUnused(connection.handshake);
    socket.setNoDelay(true);
    const packets = new FrameGuard(socket, limits, connection.pace, (reason) => onTurnedAway(connection, reason));
    connection.packets = packets;
    onConnection(attachConnection(packets, connection));
  }

  function connectionUnder(socket: TLSSocket): Connection | undefined {
    // over a stream, TLS has no ends of its own
    const ends = endsOf(boundedBelow(socket)?.socket ?? socket);
    return ends === undefined ? undefined : connections.get(ends);
  }

  return {
    /** @returns the port. @throws when it cannot be taken */
    async listen(port: number, host: string): Promise<number> {
      await new Promise<void>((resolve, reject) =>
        server.once('error', reject).listen({ port, host, backlog: backlogOf(limits) }, resolve),
      );
      server.removeAllListeners('error').on('error', (err) => log.error({ err }, 'a connection could not be accepted'));
      return (server.address() as AddressInfo).port;
    },
    /** Looks again at the right of connections to their slots, of these devices or of all. */
    review: admission.review,
    open: () => sockets.size,
    /** connections since the start that may have been devices, and were closed for lack of slots, by limit */
    turnedAway(): TurnedAwayCounts {
      const { refused, refusedOfAddress, crowdedOut } = admission.counts();
      return { total: refused - refusedOfAddress + crowdedOut, address: refusedOfAddress };
    },
    /** From the next handshake on; connections stay. */
    useTls(tls: ServerTls): void {
      const certificates = certificatesOf(tls);
      tickets = { key: tls.key, day: ticketDay(now()) };
      const ticketKeys = ticketKeysOf(tickets.key, tickets.day);
      servers.keys.setSecureContext({ ...certificates, ...contexts.keys });
      servers.tickets.setSecureContext({ ...certificates, ...contexts.tickets, ticketKeys });
      servers.neither.setSecureContext({ ...certificates, ...contexts.neither });
    },
    /** Accepts no more connections. `cut` then ends those that are still open, and resolves when all have ended. */
    close() {
      const ended = new Promise<void>((resolve) => server.close(() => resolve()));
      return {
        async cut() {
          for (const socket of sockets) closeHere(socket);
          await ended;
        },
      };
    },
  };
}

/** The two ends of a connection; undefined when it has ended already. */
function endsOf({ remoteAddress, remotePort, localAddress, localPort }: Socket): string | undefined {
  return remoteAddress && `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
}

/** An identity that somebody has chosen; a session ticket is none. */
const isName = (identity: string): boolean => /^[\x20-\x7e]{1,128}$/.test(identity);

/** Node has no public way to it. */
function socketBelow(socket: TLSSocket): Socket | undefined {
  return boundedBelow(socket)?.socket ?? (socket as { _parent?: Socket })._parent;
}

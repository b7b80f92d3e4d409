import { randomUUID } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { createServer as createSecureServer, type TLSSocket } from 'node:tls';
import { Aedes } from 'aedes';
import type { AskQueue } from '../queue/ask.ts';
import { type GuessBook, noGuessBook } from '../queue/guesses.ts';
import type { ReplyFeed } from '../queue/replies.ts';
import { type Audit, noAudit } from '../runtime/audit.ts';
import type { Log } from '../runtime/log.ts';
import { createAdmission, groupOf, type Ticket } from './admission.ts';
import { createCounters } from './counters.ts';
import { createDesk } from './desk.ts';
import { guardFrames } from './frame-guard.ts';
import { createHooks } from './hooks.ts';
import { defaultLimits, type Limits } from './limits.ts';
import { createRefusalRecord } from './refusal-record.ts';
import { noRoster, type Roster } from './roster.ts';
import { createPskDoor, type PskProof } from './tls/psk.ts';
import { contextOptions, type TlsSuites } from './tls/suites.ts';
import { createTurnstile } from './turnstile.ts';

export type BrokerOptions = {
  /** 0 takes a free one */
  readonly port: number;
  readonly listen: string;
  /** PEM */
  readonly tls: { readonly key: string; readonly cert: string };
  readonly asks: AskQueue;
  readonly replies: ReplyFeed;
  /** the devices that this site knows; without it no device can use a pre-shared key */
  readonly roster?: Roster;
  readonly suites?: TlsSuites;
  /** bounds what is tried at tokens that the roster does not know */
  readonly guesses?: GuessBook;
  readonly audit?: Audit;
  readonly log: Log;
  readonly now?: () => number;
  readonly newId?: () => string;
  readonly limits?: Partial<Limits>;
};

export type Broker = {
  readonly name: 'broker';
  readonly port: number;
  /** From the next handshake on; connections stay. PEM */
  useTls(material: { readonly key: string; readonly cert: string }): void;
  counters(): ReturnType<ReturnType<typeof createCounters>['snapshot']>;
  close(): Promise<void>;
};

/** Starts the MQTT broker that devices talk to. @throws when the port cannot be taken */
export async function startBroker(options: BrokerOptions): Promise<Broker> {
  const {
    asks,
    replies,
    roster = noRoster,
    guesses = noGuessBook,
    audit = noAudit,
    log,
    now = Date.now,
    newId = randomUUID,
  } = options;
  const limits: Limits = { ...defaultLimits, ...options.limits };
  const counters = createCounters();
  const desk = createDesk({ feed: replies, counters, log, now, maxTokens: limits.maxTokensPerConnection });
  const psk = createPskDoor(roster);
  /** by the stream that aedes sees */
  const proofs = new WeakMap<object, PskProof>();
  const provenBy = (stream: object) => proofs.get(stream);
  const tickets = new WeakMap<object, Ticket>();
  const refusals = createRefusalRecord(audit, now);
  const hooks = createHooks({
    intake: { asks, desk, roster, guesses, limits, log, now, newId },
    provenBy,
    onProven: (stream) => tickets.get(stream)?.proven(),
    refusals,
    counters,
    log,
  });
  const aedes = new Aedes({
    ...hooks,
    connectTimeout: limits.connectMs,
    drainTimeout: limits.drainMs,
    queueLimit: 16,
    maxInflightInbound: 8,
    maxTopicLevels: 8,
  });
  aedes.on('clientError', (_client, err) => log.debug({ err }, 'connection ended'));
  aedes.on('connectionError', (_client, err) => log.debug({ err }, 'connection ended before CONNECT'));
  await aedes.listen();

  const admission = createAdmission(limits);
  aedes.on('client', (client) => tickets.get(client.conn)?.connected());

  const sockets = new Set<Socket>();
  const context = contextOptions(options.suites ?? 'modern');
  const secured = createSecureServer(
    { ...options.tls, ...context, handshakeTimeout: limits.handshakeMs, pskCallback: psk.callback },
    (socket: TLSSocket) => {
      socket.setNoDelay(true);
      const arrival = arrivals.get(addressOf(socket));
      arrival?.leaveTurnstile();
      const { remoteAddress } = socket;
      const stream = guardFrames(socket, limits, (reason) =>
        log.warn({ remoteAddress, reason }, 'connection closed: not acceptable MQTT'),
      );
      if (arrival !== undefined) tickets.set(stream, arrival.ticket);
      const proof = psk.provenBy(socket);
      if (proof !== undefined) proofs.set(stream, proof);
      aedes.handle(stream);
    },
  );
  // Node reports a handshake that failed or took too long, and leaves the socket open
  secured.on('tlsClientError', (err, socket) => {
    log.debug({ remoteAddress: socket.remoteAddress, err }, 'TLS handshake failed');
    socket.destroy();
  });
  /** by the two ends of a connection, which TLS and TCP know it by */
  const arrivals = new Map<string, { readonly ticket: Ticket; leaveTurnstile(): void }>();
  const turnstile = createTurnstile(limits.maxHandshakes);
  // before the handshake, which costs more than anything that follows
  const server = createServer({ noDelay: true }, (socket) => {
    const ticket = admission.admit(socket, socket.remoteAddress);
    if (ticket === undefined) {
      log.debug({ remoteAddress: socket.remoteAddress }, 'no place for another connection');
      socket.destroy();
      return;
    }
    const ends = addressOf(socket);
    sockets.add(socket);
    counters.counts.connections++;
    counters.counts.connectionsOpen++;
    const leaveTurnstile = turnstile.enter(groupOf(socket.remoteAddress), () => {
      // who is gone leaves by its close
      if (socket.destroyed) return;
      setTimeout(() => leaveTurnstile(), limits.handshakeTurnMs).unref();
      secured.emit('connection', socket);
    });
    arrivals.set(ends, { ticket, leaveTurnstile });
    socket.once('close', () => {
      leaveTurnstile();
      arrivals.delete(ends);
      sockets.delete(socket);
      counters.counts.connectionsOpen--;
      ticket.closed();
    });
  });
  await new Promise<void>((resolve, reject) =>
    server.once('error', reject).listen(options.port, options.listen, resolve),
  );
  await desk.start();

  return {
    name: 'broker',
    port: (server.address() as AddressInfo).port,
    useTls: ({ key, cert }) => secured.setSecureContext({ key, cert, ...context }),
    counters: counters.snapshot,
    async close() {
      const closed = new Promise((resolve) => server.close(resolve));
      desk.close();
      refusals.close();
      await new Promise<void>((resolve) => aedes.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

function addressOf({ remoteAddress, remotePort }: Socket): string {
  return `${remoteAddress} ${remotePort}`;
}

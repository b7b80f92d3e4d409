import { randomBytes, X509Certificate } from 'node:crypto';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { connect, createServer as createSecureServer, type Server, type TLSSocket } from 'node:tls';
import { contextOptions } from '../broker/listener/cipher-suites.ts';
import { derivePsk } from '../protocol/psk.ts';
import type { ServerCertificate } from './certificates.ts';
import { Link } from './link.ts';
import type { Observation, ShownCertificate } from './observation.ts';
import type { Script } from './script.ts';

export type RelayOptions = {
  /** 0: any that is free */
  readonly port: number;
  /** address to listen on */
  readonly listen: string;
  /** the gateway behind it, on this machine; `ca` in PEM */
  readonly gateway: { readonly port: number; readonly ca: string };
  readonly certificates: Record<ShownCertificate, ServerCertificate>;
  readonly device: { readonly serial: string; readonly token: string };
  /** the claim certificate of the device, PEM: clients are asked for one */
  readonly claim?: ServerCertificate | undefined;
  readonly script: Script;
  readonly observation: Observation;
};

/** A device has so long for its TLS handshake, in milliseconds, as at the gateway. */
const handshakeMs = 10_000;

/**
 * Stands between one device and the gateway for one case: ends the TLS of the device, reads its MQTT packets, and passes each on to the
 * gateway, unless the script of the case deals with it. The gateway itself knows nothing of cases.
 *
 * A device that proves its token by a pre-shared key does so here; the connection to the gateway goes by certificate, so the relay
 * puts the token into CONNECT. One that shows its claim certificate here is one at the gateway, too, since the relay has its key.
 */
export async function startRelay(options: RelayOptions) {
  const { certificates, device, gateway, observation, script, claim } = options;
  const sockets = new Set<Socket>();
  const psk = derivePsk(device.serial, device.token);
  const decoy = randomBytes(psk.length);
  let connections = 0;

  /** By the socket below. Node's TLSSocket has it as a private property; both have the same other end. */
  const numbers = new Map<string, number>();
  const endOf = (socket: Socket) => `${socket.remoteAddress} ${socket.remotePort}`;

  function secure(shown: ShownCertificate): Server {
    // a server that a device must not take has no keys either: it is not the gateway
    const withKeys = shown === 'right';
    const server = createSecureServer({
      ...certificates[shown],
      ...contextOptions('modern', withKeys ? 'keys' : 'neither'),
      ...(claim === undefined ? {} : { requestCert: true, rejectUnauthorized: false, ca: gateway.ca }),
      handshakeTimeout: handshakeMs,
      ...(withKeys
        ? {
            pskCallback: (_socket: TLSSocket, identity: string) =>
              Buffer.from(identity === device.serial ? psk : decoy),
          }
        : {}),
    });
    server.on('secureConnection', (socket) => accept(socket));
    server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      const number = numbers.get(endOf(socket)) ?? connections;
      observation.note(number, { kind: 'tls-failed', reason: alertOf(error) });
      socket.destroy();
    });
    return server;
  }
  const servers = {
    right: secure('right'),
    rsa: secure('rsa'),
    'wrong-ca': secure('wrong-ca'),
    expired: secure('expired'),
    'other-name': secure('other-name'),
  };

  function accept(socket: TLSSocket): void {
    const number = numbers.get(endOf(socket)) ?? connections;
    const tls = socket.getProtocol() ?? 'TLS';
    const byKey = tls === 'TLSv1.3' ? socket.isSessionReused() : /(^|-)PSK-/.test(socket.getCipher().name);
    const shown = claim !== undefined && isShown(claim, socket) ? claim : undefined;
    const by = byKey ? 'pre-shared key' : shown === undefined ? 'certificate' : 'claim certificate';
    observation.note(number, { kind: 'secured', by, tls });
    const upstream = connect({
      host: '127.0.0.1',
      port: gateway.port,
      ca: gateway.ca,
      ...shown,
      servername: 'localhost',
      minVersion: 'TLSv1.2',
    });
    sockets.add(upstream);
    upstream.once('close', () => sockets.delete(upstream));
    new Link({ number, device, byKey, socket, upstream, script, observation });
  }

  const listener = createServer({ noDelay: true }, (socket) => {
    const number = ++connections;
    sockets.add(socket);
    const end = endOf(socket);
    numbers.set(end, number);
    socket.on('error', () => {});
    socket.once('close', () => {
      sockets.delete(socket);
      numbers.delete(end);
    });
    const shown = script.show?.(number) ?? 'right';
    observation.note(number, { kind: 'opened', shown });
    servers[shown].emit('connection', socket);
  });
  await new Promise<void>((resolve, reject) => {
    listener.once('error', reject);
    listener.listen(options.port, options.listen, () => resolve(void listener.off('error', reject)));
  });
  // a connection that the system refuses: the device comes again
  listener.on('error', () => {});
  return {
    port: (listener.address() as AddressInfo).port,
    async close(): Promise<void> {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}

/** The handshake has proved that the client has its key. */
const isShown = ({ cert }: ServerCertificate, socket: TLSSocket): boolean =>
  socket.getPeerX509Certificate()?.raw.equals(new X509Certificate(cert).raw) ?? false;

/** The alert of the device as RFC 8446 §6.2 names it, or what else ended its handshake. */
function alertOf({ code = '', message }: NodeJS.ErrnoException): string {
  const [, alert] = /_ALERT_(\w+)$/.exec(code) ?? [];
  if (alert !== undefined) return `alert ${alert.toLowerCase()}`;
  if (code === 'ECONNRESET' || code === 'EPIPE') return 'it closed the connection without an alert';
  return code || message;
}

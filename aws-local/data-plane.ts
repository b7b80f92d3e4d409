import { createHash } from 'node:crypto';
import { createServer, type TLSSocket } from 'node:tls';
import { Aedes, type AedesPublishPacket, type Client } from 'aedes';
import { type Account, arnOf } from './account.ts';
import { createCredentialsProvider } from './credentials-provider.ts';
import { listenAt } from './listening.ts';
import type { Logger } from './logger.ts';
import { filterPackets } from './mqtt-filter.ts';
import { policyDocuments } from './policies.ts';
import type { Connection } from './policy-condition.ts';
import { allows } from './policy-document.ts';
import { thingOfConnection } from './principals.ts';

/** What a client's certificate and its CONNECT packet say. */
type Identity = Pick<Connection, 'clientId' | 'connectAttributes'> & { readonly certificateId: string };

/** Of HTTP's "GET". MQTT begins with CONNECT, 0x10. */
const firstOfGet = 0x47;

/** After so long without a first byte, a connection is closed. Milliseconds. */
const silentMs = 30_000;

/**
 * AWS IoT's MQTT data plane: mutual TLS with a server name, and only a registered, ACTIVE certificate whose policies allow it
 * connects. A forbidden action closes the connection, as AWS does, and so does a packet beyond AWS's limits.
 * @see https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html
 */
export async function startDataPlane(options: {
  account: Account;
  port: number;
  host: string;
  tls: { key: string; cert: string };
  log: Logger;
}) {
  const { account, port, host, tls, log } = options;
  const identities = new WeakMap<Client, Identity>();
  const sockets = new Map<TLSSocket, string>();

  function may(client: Client | null, action: string, resource: string): boolean {
    const identity = client === null ? undefined : identities.get(client);
    const certificate = account.store.get('certificate', identity?.certificateId ?? '');
    if (identity === undefined || certificate?.status !== 'ACTIVE') return false;
    const documents = policyDocuments(account, certificate.certificateArn);
    const thing = thingOfConnection(account, certificate.certificateArn, identity.clientId);
    return allows(documents, action, arnOf(account, resource), { ...identity, thing });
  }

  /** Wraps every hook, since a hook that throws ends the process. */
  function decide(judge: () => boolean, done: (allowed: boolean) => void): void {
    let allowed = false;
    try {
      allowed = judge();
    } catch (err) {
      log.error({ err }, 'data plane');
    }
    done(allowed);
  }

  const broker = new Aedes({
    preConnect(client, packet, done) {
      const { clientId, clean, will } = packet;
      const certificateId = sockets.get(client.conn as TLSSocket) ?? '';
      const connectAttributes = [
        ...(clean ? [] : ['PersistentConnect' as const]),
        ...(will ? ['LastWill' as const] : []),
      ];
      identities.set(client, { certificateId, clientId, connectAttributes });
      decide(
        () => may(client, 'iot:Connect', `client/${clientId}`),
        (allowed) => {
          if (!allowed)
            log.info({ clientId, certificateId }, 'data plane: connection refused by certificate or policy');
          done(allowed ? null : new Error('not authorized'), allowed);
        },
      );
    },
    // also called for a will, when its client is gone
    authorizePublish(client, packet, done) {
      const topic = `topic/${packet.topic}`;
      decide(
        () => may(client, 'iot:Publish', topic) && (!packet.retain || may(client, 'iot:RetainPublish', topic)),
        (allowed) => done(allowed ? null : new Error('not authorized')),
      );
    },
    authorizeSubscribe(client, subscription, done) {
      decide(
        () => may(client, 'iot:Subscribe', `topicfilter/${subscription.topic}`),
        (allowed) => (allowed ? done(null, subscription) : done(new Error('not authorized'), null)),
      );
    },
    authorizeForward(client, packet) {
      let allowed = false;
      decide(
        () => may(client, 'iot:Receive', `topic/${packet.topic}`),
        (answer) => {
          allowed = answer;
        },
      );
      return allowed ? packet : (null as unknown as AedesPublishPacket);
    },
  });
  /** It follows an event, which has no caller: a full disk must not end the process. */
  const note = ({ id: thingName }: Client, connected: boolean) => {
    try {
      account.store.put('connectivity', thingName, { thingName, connected, timestamp: Date.now() });
    } catch (err) {
      log.error({ err, thingName, connected }, 'data plane: that a client has come or gone could not be written down');
    }
  };
  broker.on('clientReady', (client) => note(client, true));
  broker.on('clientDisconnect', (client) => note(client, false));
  broker.on('clientError', (_client, err) => log.debug({ err }, 'data plane: connection ended'));
  broker.on('connectionError', (_client, err) => log.debug({ err }, 'data plane: connection ended'));
  await broker.listen();

  const credentials = createCredentialsProvider(account, (socket) => sockets.get(socket) ?? '', log);

  function serveMqtt(socket: TLSSocket, certificateId: string): void {
    if (account.store.get('certificate', certificateId)?.status !== 'ACTIVE') {
      log.info({ certificateId }, 'data plane: certificate is not registered and active');
      socket.destroy();
      return;
    }
    filterPackets(broker.handle(socket), (reason) =>
      log.info({ certificateId, reason }, 'data plane: connection closed at a packet that AWS does not take'),
    );
  }

  const server = createServer(
    { ...tls, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.2' },
    (socket) => {
      // the certificate itself decides, not its CA: AWS accepts registered certificates of any CA
      const { raw } = socket.getPeerCertificate() as { raw?: Buffer };
      const certificateId = raw === undefined ? '' : createHash('sha256').update(raw).digest('hex');
      socket.on('error', () => {});
      // "attempts that don't include the SNI are refused": https://docs.aws.amazon.com/iot/latest/developerguide/mqtt.html
      if (!socket.servername) {
        log.info({ certificateId }, 'data plane: connection refused without a server name (SNI)');
        socket.destroy();
        return;
      }
      sockets.set(socket, certificateId);
      const silent = setTimeout(() => socket.destroy(), silentMs);
      socket.once('close', () => {
        clearTimeout(silent);
        sockets.delete(socket);
      });
      socket.once('data', (first: Buffer) => {
        clearTimeout(silent);
        socket.pause();
        socket.unshift(first);
        if (first[0] === firstOfGet) credentials.emit('connection', socket);
        else serveMqtt(socket, certificateId);
        process.nextTick(() => socket.resume());
      });
    },
  );
  server.on('tlsClientError', (_err, socket) => socket.destroy());
  const taken = await listenAt(server, port, host, log);

  account.onCertificateChange.push((certificateId) => {
    if (account.store.get('certificate', certificateId)?.status === 'ACTIVE') return;
    for (const [socket, id] of sockets) if (id === certificateId) socket.destroy();
  });

  return {
    port: taken,
    /** Every connection has ended, and is noted as ended, afterwards. */
    async close(): Promise<void> {
      const closed = new Promise((resolve) => server.close(resolve));
      await new Promise<void>((resolve) => broker.close(resolve));
      for (const socket of sockets.keys()) socket.destroy();
      await closed;
    },
  };
}

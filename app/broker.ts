import { type Broker, type BrokerOptions, startBroker } from '../broker/broker.ts';
import { defaultLimits } from '../broker/limits.ts';
import { openRoster } from '../broker/roster.ts';
import { cvm } from '../protocol/cvm/dialect.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { createReplyFeed } from '../queue/redis-replies.ts';
import { createRosterFeed } from '../queue/redis-roster.ts';
import { createTokenAttemptLimiter } from '../queue/redis-token-attempts.ts';
import { createRequestQueue } from '../queue/request-queue.ts';
import type { TokenAttemptLimits } from '../queue/token-attempts.ts';
import { SettingsError } from '../runtime/settings.ts';
import { keepHeapSmall } from '../runtime/small-heap.ts';
import { loadGatewayKey } from '../site-tls/gateway-key.ts';
import { type TlsMaterial, tlsOptions } from '../site-tls/material.ts';
import { keepTlsFresh } from '../site-tls/renewal.ts';
import { loadTlsMaterial } from '../site-tls/site-ca.ts';
import { type App, keepAudit } from './app.ts';
import { warnOfRedis } from './redis.ts';

/** Requests out, replies in. */
type Queue = Pick<BrokerOptions, 'requests' | 'replies'>;

/** What decides about a connection, bounds it, and records it. A test that wants none of a guard passes `noRoster`,
 * `unlimitedTokenAttempts` or `noAudit`; limits always apply. */
export type Guards = Pick<BrokerOptions, 'roster' | 'tokenAttempts' | 'audit' | 'limits'>;

export type BrokerPart = { readonly broker: Broker; readonly tls: TlsMaterial };

/** `cvm broker`. */
export async function startBrokerPart(app: App, redis: RedisConnector): Promise<BrokerPart> {
  keepHeapSmall();
  // first: a certificate that cannot be read is reported although Redis is away
  const tls = await loadTls(app);
  warnOfRedis(redis, app.log);
  const queue = connectQueue(app, redis);
  return serveDevices(app, { ...queue, ...(await openGuards(app, redis)) }, tls);
}

export function connectQueue({ log, lifecycle }: App, redis: RedisConnector): Queue {
  const requests = createRequestQueue(redis, log);
  lifecycle.add({ name: 'request queue', close: () => requests.close() });
  const replies = createReplyFeed(redis, log);
  lifecycle.add({ name: 'reply feed', close: () => replies.close() });
  return { requests, replies };
}

/** Resolves when the roster was read: while Redis is away, it waits. */
export async function openGuards(
  app: App,
  redis: RedisConnector,
  tokenAttemptLimits: Partial<TokenAttemptLimits> = {},
): Promise<Guards> {
  const { settings, log, lifecycle } = app;
  const feed = createRosterFeed(redis, log);
  lifecycle.add({ name: 'roster feed', close: () => feed.close() });
  const roster = await openRoster(feed, await loadGatewayKey(settings.dataDir), log);
  lifecycle.add({ name: 'roster', close: async () => roster.close() });
  const tokenAttempts = createTokenAttemptLimiter(redis, log, tokenAttemptLimits);
  lifecycle.add({ name: 'token attempt limiter', close: () => tokenAttempts.close() });
  const { maxConnections, maxConnectionsPerAddress } = settings;
  const limits = { ...defaultLimits, maxConnections, maxConnectionsPerAddress };
  return { roster, tokenAttempts, audit: keepAudit(app, 'broker'), limits };
}

/** Opens the port for devices, and keeps the server certificate from running out. */
export async function serveDevices(app: App, deps: Queue & Guards, tls: TlsMaterial): Promise<BrokerPart> {
  const { settings, log, lifecycle, metrics } = app;
  const { mqttPort: port, listen, tlsSuites: suites } = settings;
  const mqtt = { port, listen, tls, suites, dialects: [cvm] };
  const starting = startBroker({ ...mqtt, log, metrics, ...deps }).catch((error: NodeJS.ErrnoException) => {
    if (error.syscall !== 'listen' && error.syscall !== 'getaddrinfo') throw error;
    throw new SettingsError([`CVM_LISTEN, CVM_MQTT_PORT: cannot listen on ${listen}, port ${port} (${error.code})`]);
  });
  const broker = lifecycle.add(await starting);
  lifecycle.add(
    keepTlsFresh({ current: tls, load: () => loadTls(app), use: (material) => broker.useTls(material), log }),
  );
  log.info(
    { port: broker.port, fingerprint: tls.fingerprint, spkiPin: tls.spkiPin, ca: tls.caFile, names: tls.names },
    'broker is listening',
  );
  return { broker, tls };
}

export function loadTls({ settings }: App): Promise<TlsMaterial> {
  return loadTlsMaterial(tlsOptions(settings));
}

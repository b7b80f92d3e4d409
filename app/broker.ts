import { X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { type Broker, type BrokerOptions, startBroker } from '../broker/broker.ts';
import { type Limits, limitsFor } from '../broker/limits.ts';
import type { ServerTls } from '../broker/listener/listener.ts';
import { openRoster } from '../broker/roster.ts';
import { createTableTrust } from '../broker/table-trust.ts';
import { watchSlots } from '../broker/trouble.ts';
import { cvm } from '../protocol/cvm/dialect.ts';
import { fleetProvisioning } from '../protocol/fleet-provisioning/dialect.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { watchRedis } from '../queue/redis-health.ts';
import { createLine } from '../queue/redis-line.ts';
import { createPace } from '../queue/redis-pace.ts';
import { createReplyFeed } from '../queue/redis-replies.ts';
import { createRosterFeed } from '../queue/redis-roster.ts';
import { createTokenAttemptLimiter } from '../queue/redis-token-attempts.ts';
import type { TableTrust } from '../queue/replies.ts';
import { createRequestQueue } from '../queue/request-queue.ts';
import { createTableKeyReader } from '../queue/table-key.ts';
import type { TokenAttemptLimits } from '../queue/token-attempts.ts';
import { watchEventLoop } from '../runtime/event-loop.ts';
import { keepHealthFiles, type NamedCheck } from '../runtime/health-files.ts';
import { fitHeapGrowth } from '../runtime/heap-growth.ts';
import type { Settings } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import type { GatewayIdentity, OwnGateway } from '../sealing/gateway.ts';
import { loadGateway } from '../site-tls/gateway-key.ts';
import { chainsOf, type TlsMaterial, tlsOptions } from '../site-tls/material.ts';
import { keepTlsFresh } from '../site-tls/renewal.ts';
import { loadTlsMaterial, refreshTlsMaterial } from '../site-tls/site-ca.ts';
import { pinnedTableKey, pinTableKey, tableKeyFile } from '../site-tls/table-key.ts';
import { loadTimeKey, whyClockDoubted } from '../site-tls/time-key.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { type App, keepAudit } from './app.ts';
import { withWatchers } from './live.ts';
import { admitNewGateway, type TableWord, wordByRedis } from './new-gateway.ts';
import { partOf, shareOf, tokenAttemptShare } from './processes.ts';
import { requireReplicas, warnOfRedis } from './redis.ts';
import { announcePart } from './running-part.ts';
import { keepSightings } from './sightings.ts';

/** Requests out, replies in, and the line between. */
type Queue = Pick<BrokerOptions, 'requests' | 'replies' | 'line' | 'pace'>;

/** What decides about a connection, bounds it, and records it. A test that wants none of a guard passes `noRoster`,
 * `unlimitedTokenAttempts`, `noSightings` or `noAudit`; limits always apply. */
export type Guards = Pick<BrokerOptions, 'roster' | 'tokenAttempts' | 'audit' | 'sightings' | 'limits'>;

/** What this gateway signs with, and whose signature it trusts. */
export type Identity = {
  readonly gateway: OwnGateway;
  readonly table: TableTrust & { trouble(): Promise<string | undefined> };
};

export type BrokerPart = { readonly broker: Broker; readonly tls: TlsMaterial };

/**
 * `cvm broker`, and the broker of `cvm up`.
 * @param wordOf asks the table whether it knows a gateway that is new; without it, a worker is asked by way of Redis
 * @throws SettingsError where this gateway is new and the table knows others
 */
export async function startBrokerPart(
  app: App,
  redis: RedisConnector,
  wordOf?: (gateway: GatewayIdentity) => TableWord,
): Promise<BrokerPart> {
  // first: a certificate that cannot be read is reported although Redis is away
  const tls = await loadTls(app);
  warnOfRedis(redis, app.log);
  const health = tellHealth(app, redis);
  await requireReplicas(redis, app.settings, app.log);
  const identity = await loadIdentity(app, redis);
  await admitNewGateway(app, identity.gateway.identity.id, {
    ask: async () => (wordOf === undefined ? wordByRedis(app, redis, identity) : wordOf(identity.gateway.identity)),
    onWait: health.waits,
  });
  const queue = connectQueue(app, redis, identity);
  const guards = await openGuards(app, redis, identity);
  const part = await serveDevices(app, { ...queue, ...guards }, tls);
  health.watch(part.broker, guards.audit, identity.table);
  app.lifecycle.add(fitHeapGrowth(part.broker.openConnections));
  return part;
}

/** From the start on: a broker waits in its start for as long as Redis is away. */
export function tellHealth(app: App, redis: RedisConnector) {
  const { settings, log, lifecycle, monitoring } = app;
  let waiting: string | undefined;
  const checks: NamedCheck[] = [
    { name: 'redis', look: lifecycle.add(watchRedis(redis, log, settings.redisReplicas)).trouble },
    { name: 'start', look: () => waiting },
  ];
  const health = lifecycle.add(
    keepHealthFiles({
      folder: settings.healthDir,
      part: partOf(settings.brokerProcess),
      checks,
      site: settings.site,
      onChecked: announcePart(app, redis, 'broker').heard,
      log,
    }),
  );
  monitoring.addHealth(health.report);
  return {
    /** What the start waits for; undefined when it goes on. */
    waits: (reason: string | undefined) => {
      waiting = reason;
    },
    watch: ({ turnedAway, trouble }: Broker, audit: Audit, table: Pick<Identity['table'], 'trouble'>) =>
      void checks.push(
        { name: 'slots', look: watchSlots({ turnedAway, log }) },
        { name: 'workers', look: trouble },
        { name: 'audit', look: audit.trouble },
        { name: 'table', look: table.trouble },
      ),
  };
}

export async function loadIdentity({ settings, log, lifecycle }: App, redis: RedisConnector): Promise<Identity> {
  const { dataDir } = settings;
  const gateway = await loadGateway(dataDir);
  const reader = createTableKeyReader(redis, log);
  lifecycle.add({ name: 'table key reader', close: () => reader.close() });
  const table = createTableTrust({
    pinned: pinnedTableKey(dataDir),
    pin: (publicKey) => pinTableKey(dataDir, publicKey),
    published: reader.read,
    cure: `if the table was replaced, remove ${tableKeyFile(dataDir)} and restart the broker; otherwise a stranger writes to Redis`,
    log,
  });
  table.start();
  lifecycle.add(table);
  return { gateway, table };
}

export function connectQueue(
  { settings, log, lifecycle, clockSteps, tracing }: App,
  redis: RedisConnector,
  { gateway, table }: Identity,
): Queue {
  const requests = createRequestQueue(redis, log, gateway, settings.redisReplicas, tracing);
  clockSteps.follow(requests.clockSet);
  lifecycle.add({ name: 'request queue', close: () => requests.close() });
  const replies = createReplyFeed(redis, log, table, gateway.identity.id);
  lifecycle.add({ name: 'reply feed', close: () => replies.close() });
  const line = createLine(redis, log);
  lifecycle.add({ name: 'line', close: () => line.close() });
  const pace = createPace(redis, log);
  lifecycle.add({ name: 'pace', close: () => pace.close() });
  return { requests, replies, line, pace };
}

/** Resolves when the roster was read: while Redis is away, it waits. */
export async function openGuards(
  app: App,
  redis: RedisConnector,
  { gateway, table }: Identity,
  tokenAttemptLimits: Partial<TokenAttemptLimits> = {},
): Promise<Guards> {
  const { settings, log, lifecycle, clockSteps } = app;
  const feed = createRosterFeed(redis, log);
  lifecycle.add({ name: 'roster feed', close: () => feed.close() });
  const roster = await openRoster(feed, gateway, table, log);
  clockSteps.follow(roster.announceAgain);
  lifecycle.add({ name: 'roster', close: async () => roster.close() });
  const tokenAttempts = createTokenAttemptLimiter(redis, log, {
    ...tokenAttemptShare(settings.brokerProcess),
    ...tokenAttemptLimits,
  });
  lifecycle.add({ name: 'token attempt limiter', close: () => tokenAttempts.close() });
  const sightings = keepSightings(app, redis);
  const audit = withWatchers(app, redis, keepAudit(app, 'broker'));
  return { roster, tokenAttempts, audit, sightings, limits: limitsOf(settings) };
}

/** What is counted for an address at each process is shared out; what is counted for a connection or a device is not. */
function limitsOf({ brokerProcess, ...settings }: Settings): Limits {
  const limits = limitsFor(settings);
  const { burst, perSecond } = limits.packetsOfAddress;
  const packetsOfAddress = { burst: shareOf(burst, brokerProcess), perSecond: shareOf(perSecond, brokerProcess) };
  return { ...limits, packetsOfAddress };
}

/** Opens the port for devices, and keeps the server certificate from running out. */
export async function serveDevices(app: App, deps: Queue & Guards, tls: TlsMaterial): Promise<BrokerPart> {
  const { settings, log, lifecycle, metrics, tracing } = app;
  const { mqttPort: port, listen, proxyFrom, site, tlsSuites: suites } = settings;
  let served = tls;
  const { sign } = await loadTimeKey(settings.dataDir);
  const time = { sign, whyDoubted: (now: number) => whyClockDoubted(served, now) };
  const withClaims = (material: TlsMaterial) => withClaimCas(material, settings);
  const mqtt = { port, listen, proxyFrom, tls: withClaims(tls), suites, time, dialects: [cvm, fleetProvisioning] };
  const starting = startBroker({ ...mqtt, log, metrics, tracing, ...deps }).catch((error: NodeJS.ErrnoException) => {
    // bind: of node:cluster, whose first process opens the port
    if (!['listen', 'bind', 'getaddrinfo'].includes(error.syscall ?? '')) throw error;
    throw new SettingsError([`CVM_LISTEN, CVM_MQTT_PORT: cannot listen on ${listen}, port ${port} (${error.code})`]);
  });
  const broker = lifecycle.add(await starting);
  metrics.certificateEnd.readFrom(() => certificateEnds(served));
  metrics.eventLoopDelay.readFrom(lifecycle.add(watchEventLoop({ log })).p99Seconds);
  const use = (material: TlsMaterial) => {
    served = material;
    broker.useTls(withClaims(material));
  };
  lifecycle.add(keepTlsFresh({ current: tls, load: () => refreshTlsMaterial(tlsOptions(app.settings)), use, log }));
  const { fingerprint, spkiPin, caFile: ca, names } = tls;
  const beside = tls.beside && { ca: tls.beside.caFile, spkiPin: tls.beside.spkiPin };
  log.info({ site, port: broker.port, fingerprint, spkiPin, ca, names, beside, proxyFrom }, 'broker is listening');
  return { broker, tls };
}

/** Of the chain that ends first, where two are served. */
function certificateEnds(material: TlsMaterial) {
  const chains = chainsOf(material);
  const first = (ends: readonly (Date | undefined)[]) =>
    Math.min(...ends.flatMap((end) => (end === undefined ? [] : [end.getTime()])));
  const ends = [
    [{ certificate: 'server' }, first(chains.map(({ notAfter }) => notAfter)) / 1000],
    [{ certificate: 'ca' }, first(chains.map(({ caNotAfter }) => caNotAfter)) / 1000],
  ] as const;
  return ends.filter(([, end]) => Number.isFinite(end));
}

/** Where claim certificates are taken: with the CAs that sign them. @throws SettingsError */
function withClaimCas(material: TlsMaterial, { claims }: Pick<Settings, 'claims'>): ServerTls {
  if (!claims.on) return material;
  if (claims.caFile !== undefined) return { ...material, claimCas: [readClaimCa(claims.caFile)] };
  const claimCas = chainsOf(material).flatMap(({ caPem }) => (caPem === undefined ? [] : [caPem]));
  if (claimCas.length > 0) return { ...material, claimCas };
  throw new SettingsError([
    'CVM_CLAIMS: with a server certificate of your own there is no site CA; name the CA of the claim certificates in CVM_CLAIMS_CA',
  ]);
}

function readClaimCa(file: string): string {
  try {
    const pem = readFileSync(file, 'utf8');
    new X509Certificate(pem);
    return pem;
  } catch (error) {
    throw new SettingsError([`CVM_CLAIMS_CA: ${file} is no certificate in PEM: ${(error as Error).message}`]);
  }
}

export async function loadTls({ settings, log }: App): Promise<TlsMaterial> {
  const material = await loadTlsMaterial(tlsOptions(settings));
  const { madeCaAgain, caFile: ca, caFingerprint } = material;
  if (madeCaAgain)
    log.error(
      { ca, caFingerprint, cure: 'restore the site CA from a backup and start again, or give the devices this one' },
      'a site CA was missing and was made anew: devices that trust the earlier one refuse this broker',
    );
  return material;
}

import { connectDynamoDb } from '../aws/client.ts';
import type { IamRole } from '../aws/iam-policy.ts';
import { startBroker } from '../broker/broker.ts';
import { openRoster } from '../broker/roster.ts';
import { createAwsIssuer } from '../issuer/aws-iot.ts';
import type { Issuer } from '../issuer/issuer.ts';
import { amazonRootCa } from '../issuer/root-ca.ts';
import { disconnectRedis, type RedisConnector, redisAt, redisWarnings } from '../queue/redis.ts';
import { createReplyFeed, createReplyStore } from '../queue/redis-replies.ts';
import { createRosterFeed, createRosterStore } from '../queue/redis-roster.ts';
import { createTokenAttemptLimiter } from '../queue/redis-token-attempts.ts';
import { createRequestQueue } from '../queue/request-queue.ts';
import { type Changes, createDynamoChanges } from '../registry/changes.ts';
import { createDynamoRegistry } from '../registry/dynamodb.ts';
import { createDynamoGateways, type Gateways } from '../registry/gateways.ts';
import type { Registry } from '../registry/registry.ts';
import { createDynamoSweepLease, type SweepLease } from '../registry/sweep-lease.ts';
import { openAudit } from '../runtime/audit.ts';
import type { Lifecycle } from '../runtime/lifecycle.ts';
import type { Log } from '../runtime/log.ts';
import { type Settings, SettingsError } from '../runtime/settings.ts';
import { keepHeapSmall } from '../runtime/small-heap.ts';
import { sealer } from '../sealing/replies.ts';
import { loadGatewayKey } from '../site-tls/gateway-key.ts';
import { tlsOptions } from '../site-tls/material.ts';
import { keepTlsFresh } from '../site-tls/renewal.ts';
import { loadTlsMaterial } from '../site-tls/site-ca.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import { makeEcKey, ownerTagOf } from '../worker/ec-key.ts';
import { keepHeartbeat } from '../worker/heartbeat.ts';
import type { ProvisionContext } from '../worker/provision.ts';
import { startRosterSync } from '../worker/roster-sync.ts';
import { sweep } from '../worker/sweep.ts';
import { startSweeper } from '../worker/sweeper.ts';
import { startWorker } from '../worker/worker.ts';

/** The sweeper's share of each of AWS's quotas, which begin at ten calls a second. */
export const sweepCallsPerSecond = 2;

/** How long one attempt at a certificate has before another may take it up, in milliseconds. The fence keeps both safe. */
const leaseMs = 10_000;

/** The adapters are picked here and nowhere else. What is started is closed by the lifecycle, last first. */
export type App = { readonly settings: Settings; readonly log: Log; readonly lifecycle: Lifecycle };

export function keepAudit({ settings, log, lifecycle }: App, part: string): Audit {
  const audit = openAudit({ folder: settings.auditDir, part, log });
  lifecycle.add({ name: 'audit', close: () => audit.close() });
  return audit;
}

export type Table = { registry: Registry; lease: SweepLease; gateways: Gateways; changes: Changes };

export function connectTable({ settings, lifecycle }: App, role: IamRole): Table {
  const client = connectDynamoDb({ role });
  lifecycle.add({ name: 'dynamodb', close: async () => client.destroy() });
  return {
    registry: createDynamoRegistry(client, settings.table),
    lease: createDynamoSweepLease(client, settings.table),
    gateways: createDynamoGateways(client, settings.table),
    changes: createDynamoChanges(client, settings.table),
  };
}

/** @param callsPerSecond of each operation, for one who shall leave the quotas to others */
export function connectIssuer({ log, lifecycle }: App, role: IamRole, callsPerSecond?: number): Issuer {
  const issuer = createAwsIssuer({ log, role, ...(callsPerSecond === undefined ? {} : { callsPerSecond }) });
  lifecycle.add({ name: 'aws-iot', close: async () => issuer.close() });
  return issuer;
}

export async function runBroker(app: App, redis: RedisConnector) {
  const { settings, log, lifecycle } = app;
  keepHeapSmall();
  const loadTls = () => loadTlsMaterial(tlsOptions(settings));
  const tls = await loadTls();
  warnOfRedis(redis, log);
  const requests = createRequestQueue(redis, log);
  lifecycle.add({ name: 'ask queue', close: () => requests.close() });
  const replies = createReplyFeed(redis, log);
  lifecycle.add({ name: 'reply feed', close: () => replies.close() });
  const rosterFeed = createRosterFeed(redis, log);
  lifecycle.add({ name: 'roster feed', close: () => rosterFeed.close() });
  const roster = await openRoster(rosterFeed, await loadGatewayKey(settings.dataDir), log);
  lifecycle.add({ name: 'roster', close: async () => roster.close() });
  const tokenAttempts = createTokenAttemptLimiter(redis, log);
  lifecycle.add({ name: 'guess book', close: () => tokenAttempts.close() });
  const parts = { requests, replies, roster, tokenAttempts, audit: keepAudit(app, 'broker'), log };
  const { mqttPort: port, listen, tlsSuites: suites } = settings;
  const broker = lifecycle.add(await startBroker({ port, listen, tls, suites, ...parts }));
  lifecycle.add(keepTlsFresh({ current: tls, load: loadTls, use: (material) => broker.useTls(material), log }));
  log.info(
    { port: broker.port, fingerprint: tls.fingerprint, spkiPin: tls.spkiPin, ca: tls.caFile, names: tls.names },
    'broker is listening',
  );
  return { broker, tls };
}

export async function runWorker(app: App, redis: RedisConnector): Promise<void> {
  const { settings, log, lifecycle } = app;
  const { policyName, replayWindowMs } = settings;
  const rootCaPem = amazonRootCa(settings.rootCaFile);
  warnOfRedis(redis, log);
  const replies = createReplyStore(redis, log);
  lifecycle.add({ name: 'reply store', close: () => replies.close() });
  const { registry, lease, gateways, changes } = connectTable(app, 'gateway');
  const ownerTag = ownerTagOf(settings.table);
  const context: ProvisionContext = {
    registry,
    issuer: connectIssuer(app, 'gateway'),
    replies,
    rootCaPem,
    policyName,
    replayWindowMs,
    leaseMs,
    now: Date.now,
    makeKey: (serial) => makeEcKey(serial, ownerTag),
    seal: sealer,
  };
  const audit = keepAudit(app, 'worker');
  const worker = lifecycle.add(startWorker({ redis, concurrency: settings.workerConcurrency, context, log, audit }));
  const issuer = connectIssuer(app, 'gateway', sweepCallsPerSecond);
  const { intervalMs, graceMs } = settings.sweep;
  lifecycle.add(
    startSweeper({
      lease,
      intervalMs,
      log,
      audit,
      now: Date.now,
      once: (report, stopped) =>
        sweep({ registry, issuer, ownerTag, graceMs, dryRun: false, now: Date.now, report, stopped }),
    }),
  );
  const roster = createRosterStore(redis, log);
  lifecycle.add({ name: 'roster store', close: () => roster.close() });
  lifecycle.add(startRosterSync({ registry, changes, gateways, roster, log, now: Date.now }));
  lifecycle.add(keepHeartbeat(settings.dataDir, () => worker.alive()));
  log.info({ concurrency: settings.workerConcurrency, table: settings.table }, 'worker is waiting for requests');
}

/** @throws SettingsError when there is no REDIS_URL, for the parts that cannot bring their own Redis */
export function needRedis(settings: Settings): RedisConnector {
  if (settings.redisUrl !== undefined) return redisAt(settings.redisUrl);
  throw new SettingsError([
    'REDIS_URL: is needed here, as in redis://redis:6379/0 (only "cvm up" brings its own Redis)',
  ]);
}

/** Says loudly, as soon as Redis answers, what in its settings breaks a promise. */
function warnOfRedis(connector: RedisConnector, log: Log): void {
  const redis = connector.connect('wait', log.child({}, { level: 'silent' }));
  redisWarnings(redis)
    .then((warnings) => {
      for (const warning of warnings) log.warn(warning);
    })
    .catch((err: unknown) => log.debug({ err }, 'could not read the settings of Redis'))
    .finally(() => disconnectRedis(redis));
}

import { randomUUID } from 'node:crypto';
import type { Governor } from '../aws/governor.ts';
import type { Connectivity } from '../issuer/connectivity.ts';
import type { Issuer } from '../issuer/issuer.ts';
import { amazonRootCa } from '../issuer/root-ca.ts';
import { createQueueCounts } from '../queue/queue-counts.ts';
import type { RedisConnector } from '../queue/redis.ts';
import { createDirectoryKeeper } from '../queue/redis-directory.ts';
import { createEarlierReplies } from '../queue/redis-earlier-replies.ts';
import { watchRedis } from '../queue/redis-health.ts';
import { createReplyStore } from '../queue/redis-replies.ts';
import { createRosterStore } from '../queue/redis-roster.ts';
import { createSeenCertificates } from '../queue/redis-seen-certificates.ts';
import { createWrongTokenLimiter } from '../queue/redis-wrong-tokens.ts';
import type { BoundReplyStore, EarlierReplies } from '../queue/replies.ts';
import type { RequestWorker } from '../queue/request-queue.ts';
import type { SeenCertificates } from '../queue/seen-certificates.ts';
import type { TokenAttemptLimits, WrongTokenLimiter } from '../queue/token-attempts.ts';
import type { AssociationTable } from '../registry/dynamodb/association-table.ts';
import { usualLeaseMs } from '../registry/lease.ts';
import { type HealthCheck, keepHealthFiles } from '../runtime/health-files.ts';
import { remembered } from '../runtime/remembered.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import { sealer } from '../sealing/replies.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { Sightings } from '../telemetry/sightings.ts';
import { faultsOf, readTemplateFolder, type TemplateFile, type Templates, templatesOf } from '../templates/load.ts';
import {
  type CameAliveDeps,
  createCameAliveReview,
  type FollowTimes,
  startCameAliveFollower,
} from '../worker/came-alive.ts';
import { makeEcKey, ownerTagOf } from '../worker/ec-key.ts';
import { createForeignCertificates } from '../worker/foreign-certificates.ts';
import { createGatewayRegister, type GatewayRegister } from '../worker/gateway-register.ts';
import { createRefusedKeys } from '../worker/refused-keys.ts';
import { type RosterSyncTimes, startRosterSync } from '../worker/roster-sync.ts';
import { createSpareKeys } from '../worker/spare-keys.ts';
import { sweep } from '../worker/sweep.ts';
import { startSweeper } from '../worker/sweeper.ts';
import { createTableKey } from '../worker/table-key.ts';
import { startWorker, type WorkerContext } from '../worker/worker.ts';
import { type App, keepAudit } from './app.ts';
import { connectConnectivity, connectIssuer, connectTable } from './aws.ts';
import { keepIdentity } from './gateway-identity.ts';
import { withWatchers } from './live.ts';
import { connectGovernor, openAdmission } from './quota.ts';
import { warnOfRedis } from './redis.ts';
import { announcePart } from './running-part.ts';
import { keepSightings } from './sightings.ts';
import { taskShare } from './task-share.ts';

/** How long a worker goes by what it knows of a restored table, in milliseconds. */
const restoredAtMs = 10_000;

/** ACTIVE certificates of others that one sweep of the worker looks at: with two calls for each, that takes eight minutes. */
const foreignAtATime = 500;

/** After so long without a call to AWS, the health check makes one. Milliseconds. */
const quietAwsMs = 30_000;

/** What a worker is built with. Tests put their own in the place of some of it. */
export type WorkerDeps = {
  readonly table: AssociationTable;
  readonly gateways: GatewayRegister;
  readonly governor: Governor;
  readonly issuer: Issuer;
  readonly replies: BoundReplyStore;
  readonly earlierReplies: EarlierReplies;
  readonly seen: SeenCertificates;
  readonly wrongTokens: WrongTokenLimiter;
  readonly audit: Audit;
  /** whether devices connect to AWS IoT Core */
  readonly connectivity: Connectivity;
  readonly sightings: Sightings;
};

/**
 * `cvm worker`: answers requests, and in turns with the other workers sweeps and keeps the site's roster.
 * @returns what asks its table about gateways
 */
export function startWorkerPart(app: App, redis: RedisConnector): Pick<WorkerDeps, 'table' | 'gateways'> {
  const { settings, log } = app;
  warnOfRedis(redis, log);
  const deps = connectWorker(app, redis);
  const worker = startProvisioning(app, redis, { ...deps, audit: followCameAlive(app, deps) });
  startSweeping(app, deps);
  const roster = startRosterKeeping(app, redis, deps);
  tellHealth(app, redis, worker, { ...deps, roster });
  keepIdentity(app);
  const { table, site, workerConcurrency: concurrency } = settings;
  log.info({ concurrency, table, site }, 'worker is waiting for requests');
  return deps;
}

/** A worker has no port to ask: it writes down how it is. */
function tellHealth(
  app: App,
  redis: RedisConnector,
  worker: Pick<RequestWorker, 'alive'>,
  {
    table,
    audit,
    roster,
  }: Pick<WorkerDeps, 'table' | 'audit'> & { readonly roster: { readonly trouble: HealthCheck } },
): void {
  const { settings, log, lifecycle, awsTrouble, monitoring } = app;
  const watch = lifecycle.add(watchRedis(redis, log));
  const ofRedis = async () =>
    (await watch.trouble()) ?? ((await worker.alive()) ? undefined : 'the connection to Redis is being made again');
  let asking = false;
  const ofAws: HealthCheck = () => {
    // without requests, this is how it learns that AWS is away
    if (!asking && awsTrouble.quietMs() > quietAwsMs) {
      asking = true;
      void table.changes
        .latest()
        .catch((err: unknown) => log.debug({ err }, 'AWS does not answer the health check'))
        .finally(() => {
          asking = false;
        });
    }
    return awsTrouble.text();
  };
  const { healthDir: folder, site } = settings;
  const { heard: onChecked } = announcePart(app, redis, 'worker');
  const checks = [
    { name: 'redis', look: ofRedis },
    { name: 'table', look: roster.trouble },
    { name: 'aws', look: ofAws },
    { name: 'audit', look: audit.trouble },
  ];
  const health = lifecycle.add(keepHealthFiles({ folder, part: 'worker', checks, site, onChecked, log }));
  monitoring.addHealth(health.report);
  monitoring.addText(lifecycle.add(createQueueCounts(redis, log)).text);
}

export function connectWorker(
  app: App,
  redis: RedisConnector,
  tokenAttemptLimits: Partial<TokenAttemptLimits> = {},
): WorkerDeps {
  const table = connectTable(app, 'gateway');
  const tableKey = createTableKey(table.gateways);
  const replies = createReplyStore(redis, app.log, tableKey);
  app.lifecycle.add({ name: 'reply store', close: () => replies.close() });
  const earlierReplies = createEarlierReplies(redis, app.log);
  app.lifecycle.add({ name: 'earlier replies', close: () => earlierReplies.close() });
  const seen = createSeenCertificates(redis, app.log, tableKey);
  app.lifecycle.add({ name: 'seen certificates', close: () => seen.close() });
  const wrongTokens = createWrongTokenLimiter(redis, app.log, tokenAttemptLimits);
  app.lifecycle.add({ name: 'wrong token limiter', close: () => wrongTokens.close() });
  const audit = withWatchers(app, redis, keepAudit(app, 'worker'));
  const gateways = createGatewayRegister({
    gateways: table.gateways,
    audit,
    log: app.log,
    site: app.settings.site,
    now: app.awsTime.now,
  });
  const governor = connectGovernor(app, redis);
  const issuer = connectIssuer(app, 'gateway', governor.forDevices);
  const connectivity = connectConnectivity(app, (gate) => governor.forTask(gate, taskShare));
  const sightings = keepSightings(app, redis);
  return {
    connectivity,
    table,
    gateways,
    governor,
    issuer,
    replies,
    earlierReplies,
    seen,
    wrongTokens,
    audit,
    sightings,
  };
}

/** Takes requests from the queue and vends certificates. @param times in milliseconds; tests shorten them */
export function startProvisioning(
  app: App,
  redis: RedisConnector,
  {
    table,
    gateways,
    governor,
    issuer,
    replies,
    earlierReplies,
    seen,
    wrongTokens,
    audit,
    sightings,
  }: Omit<WorkerDeps, 'connectivity'>,
  times: { readonly leaseMs?: number; readonly maxBackoffMs?: number } = {},
): RequestWorker {
  const { leaseMs = usualLeaseMs, ...backoff } = times;
  const { settings, log, lifecycle, metrics, tracing, awsTime, clockSteps } = app;
  const { policyName, replayWindowMs, site, workerConcurrency: concurrency } = settings;
  const ownerTag = ownerTagOf(settings.table);
  const context: WorkerContext = {
    registry: table.registry,
    issuer,
    replies,
    earlierReplies,
    seen,
    restoredAt: remembered(() => table.restoration.latest(), restoredAtMs),
    rootCaPem: amazonRootCa(settings.rootCaFile),
    policyName,
    replayWindowMs,
    site,
    leaseMs,
    now: awsTime.now,
    makeKey: async (serial) => makeEcKey(serial, ownerTag),
    spareKeys: createSpareKeys(),
    refusedKeys: createRefusedKeys(),
    wrongTokens,
    templates: loadTemplates(app),
    claims: table.claims,
    makeId: randomUUID,
    seal: sealer,
  };
  // any answer of AWS tells its time, and the table's is the first that a request needs
  let learning: Promise<unknown> | undefined;
  const learnTime = async () => {
    if (awsTime.isKnown()) return;
    // one call for all that wait, which then go on in their order
    learning ??= table.changes.latest().finally(() => {
      learning = undefined;
    });
    await learning;
  };
  const worker = startWorker({
    ...{
      redis,
      concurrency,
      context,
      gateways,
      log,
      audit,
      sightings,
      metrics,
      tracing,
      learnTime,
      table: settings.table,
    },
    lookAtClock: clockSteps.look,
    admission: openAdmission(app, redis, governor),
    ...backoff,
  });
  clockSteps.follow(worker.clockSet);
  return lifecycle.add(worker);
}

/** @throws SettingsError with all faults of all templates */
export function loadTemplates({ settings: { templatesDir }, log }: App): Templates {
  let files: TemplateFile[];
  try {
    files = readTemplateFolder(templatesDir);
  } catch (error) {
    throw new SettingsError([`CVM_TEMPLATES_DIR: ${templatesDir} cannot be read: ${(error as Error).message}`]);
  }
  const faults = faultsOf(files);
  if (faults.length > 0) throw new SettingsError(faults);
  const templates = templatesOf(files);
  log.info({ templates: [...templates.keys()] }, 'provisioning templates');
  return templates;
}

/** Compares the table with AWS IoT Core from time to time, one worker at a time. */
export function startSweeping(
  app: App,
  { table, audit, governor, connectivity }: Pick<WorkerDeps, 'table' | 'audit' | 'governor' | 'connectivity'>,
): void {
  const { settings, log, lifecycle, awsTime, metrics } = app;
  const { intervalMs, graceMs } = settings.sweep;
  const issuer = connectIssuer(app, 'gateway', (gate) => governor.forTask(gate, taskShare));
  const setUp = {
    registry: table.registry,
    sites: table.sites,
    claims: table.claims,
    issuer,
    ownerTag: ownerTagOf(settings.table),
    table: settings.table,
    graceMs,
    replayWindowMs: settings.replayWindowMs,
    now: awsTime.now,
    foreign: createForeignCertificates(foreignAtATime),
  };
  lifecycle.add(
    startSweeper({
      lease: table.lease,
      intervalMs,
      log,
      audit,
      now: awsTime.now,
      async once(report, stopped) {
        await table.changes.advance();
        const review = createCameAliveReview(cameAliveDeps(app, { table, audit, connectivity }));
        const swept = await sweep({ ...setUp, dryRun: false, report, stopped, look: review.look });
        const endedAt = Date.now() / 1000;
        metrics.sweepEnd.readFrom(() => endedAt);
        if (swept.complete) await table.silent.write(await review.finish(stopped));
        return swept;
      },
    }),
  );
  // closed first: a sweep that ends waits for no more tokens
  lifecycle.add({ name: 'quota governor', close: async () => governor.close() });
}

type Followed = Pick<WorkerDeps, 'table' | 'audit' | 'connectivity'>;

const cameAliveDeps = (
  { log, metrics, awsTime }: App,
  { table: { registry }, audit, connectivity }: Followed,
): CameAliveDeps => ({
  registry,
  connectivity,
  audit,
  log,
  metrics,
  now: awsTime.now,
});

/** How often a worker reads how many devices are silent, for its metric. Milliseconds. */
const silentMs = 300_000;

/** Follows the devices that this worker vends for to their first connection. @returns the audit trail that tells it of them */
export function followCameAlive(app: App, deps: Followed, times: FollowTimes = {}): Audit {
  const { lifecycle, metrics, log } = app;
  const follower = lifecycle.add(startCameAliveFollower(cameAliveDeps(app, deps), times));
  let silent = 0;
  metrics.devicesSilent.readFrom(() => silent);
  const read = async () => {
    silent = (await deps.table.silent.read())?.count ?? 0;
  };
  const timer = setInterval(
    () => void read().catch((err: unknown) => log.debug({ err }, 'the number of silent devices cannot be read')),
    silentMs,
  );
  lifecycle.add({ name: 'silent devices', close: async () => clearInterval(timer) });
  const { audit } = deps;
  return {
    ...audit,
    record(...[event, fields]) {
      audit.record(event, fields as never);
      if (event === 'vended') follower.follow((fields as { serial: string }).serial);
    },
  };
}

/** Keeps the site's roster in line with the table, one worker at a time. */
export function startRosterKeeping(
  { settings, log, lifecycle, awsTime }: App,
  redis: RedisConnector,
  { table, gateways }: Pick<WorkerDeps, 'table' | 'gateways'>,
  times: Partial<RosterSyncTimes> = {},
): { readonly trouble: HealthCheck } {
  const { registry, changes, restoration, sites } = table;
  const { replayWindowMs, site } = settings;
  const roster = createRosterStore(redis, log, createTableKey(table.gateways));
  lifecycle.add({ name: 'roster store', close: () => roster.close() });
  const directory = createDirectoryKeeper(redis, log);
  lifecycle.add({ name: 'directory keeper', close: () => directory.close() });
  const deps = { registry, changes, gateways, restoration, roster, directory, sites, site, replayWindowMs };
  lifecycle.add(startRosterSync({ ...deps, log, now: awsTime.now, times }));
  return roster;
}

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { IoTClient } from '@aws-sdk/client-iot';
import { connectDynamoDb, connectIot } from '../../aws/client.ts';
import type { IamRole } from '../../aws/iam-policy.ts';
import { startAwsLocal } from '../../aws-local/main.ts';
import { startBroker } from '../../broker/broker.ts';
import type { Limits } from '../../broker/limits.ts';
import { openRoster } from '../../broker/roster.ts';
import { createAwsIssuer } from '../../issuer/aws-iot.ts';
import { amazonRootCa } from '../../issuer/root-ca.ts';
import { ensurePolicy } from '../../issuer/setup.ts';
import type { OperatorDeps } from '../../operator/deps.ts';
import { type EnrolSettings, enrol } from '../../operator/enrol.ts';
import { reissue } from '../../operator/reissue.ts';
import { makeToken } from '../../protocol/token.ts';
import { redisAt } from '../../queue/redis.ts';
import { createReplyFeed, createReplyStore } from '../../queue/redis-replies.ts';
import { createRosterFeed, createRosterStore } from '../../queue/redis-roster.ts';
import { createTokenAttemptLimiter } from '../../queue/redis-token-attempts.ts';
import { createRequestQueue } from '../../queue/request-queue.ts';
import type { TokenAttemptLimits } from '../../queue/token-attempts.ts';
import { createDynamoChanges } from '../../registry/changes.ts';
import { createDynamoRegistry } from '../../registry/dynamodb.ts';
import { createDynamoGateways } from '../../registry/gateways.ts';
import { ensureTable } from '../../registry/setup.ts';
import { noAudit, openAudit } from '../../runtime/audit.ts';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLifecycle } from '../../runtime/lifecycle.ts';
import { createLog } from '../../runtime/log.ts';
import { sealer } from '../../sealing/replies.ts';
import { loadGatewayKey } from '../../site-tls/gateway-key.ts';
import { loadTlsMaterial } from '../../site-tls/site-ca.ts';
import { makeEcKey, ownerTagOf } from '../../worker/ec-key.ts';
import { startRosterSync } from '../../worker/roster-sync.ts';
import { startWorker } from '../../worker/worker.ts';

const region = 'us-east-1';
const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
const [table, policyName] = ['cvm-devices', 'cvm-device'];

/** A whole gateway on real parts: TLS broker, Redis, worker, the AWS stand-in behind the real SDK; all on free ports. */
export async function startGateway(
  options: {
    logLevel?: string;
    replayWindowMs?: number;
    limits?: Partial<Limits>;
    suites?: 'modern' | 'old';
    tokenAttempts?: Partial<TokenAttemptLimits>;
  } = {},
) {
  const dataDir = mkdtempSync(join(tmpdir(), 'cvm-test-'));
  const logLines: string[] = [];
  const sink = new Writable({
    write: (chunk: Buffer, _encoding, done) => {
      logLines.push(chunk.toString());
      done();
    },
  });
  const log = createLog(options.logLevel ?? 'debug', sink);
  const lifecycle = createLifecycle(log);
  const auditDir = join(dataDir, 'audit');
  const audit = openAudit({ folder: auditDir, part: 'test', log });
  lifecycle.add({ name: 'audit', close: () => audit.close() });
  const redis = lifecycle.add(await startEmbeddedRedis({ dataDir, log }));
  const connector = redisAt(redis.url);
  const aws = await startAwsLocal({
    dataDir: join(dataDir, 'aws-local'),
    httpPort: 0,
    mqttPort: 0,
    quotas: 'off',
    log,
  });
  lifecycle.add({ name: 'aws', close: () => aws.close() });

  // only the product's adapters use those with a role: each calls as who does the same in the product
  const common = { region, credentials, endpoint: aws.httpUrl };
  const connectAws = (role: IamRole) => {
    const dynamo = connectDynamoDb({ ...common, role });
    lifecycle.add({ name: 'dynamodb', close: async () => dynamo.destroy() });
    const issuer = createAwsIssuer({ ...common, role, log });
    lifecycle.add({ name: 'issuer', close: async () => issuer.close() });
    const [gateways, changes] = [createDynamoGateways(dynamo, table), createDynamoChanges(dynamo, table)];
    return { dynamo, issuer, registry: createDynamoRegistry(dynamo, table), gateways, changes };
  };
  const [asWorker, asOperator] = [connectAws('gateway'), connectAws('operator')];
  const { dynamo, registry, issuer, gateways, changes } = asOperator;
  const iot = new IoTClient(common);
  await setUp(common);
  const rosterStore = createRosterStore(connector, log);
  lifecycle.add({ name: 'roster store', close: () => rosterStore.close() });
  const times = { pollMs: 100 };
  lifecycle.add(startRosterSync({ ...asWorker, roster: rosterStore, log, now: Date.now, times }));

  const startOneWorker = () => {
    const replies = createReplyStore(connector, log);
    const context = {
      registry: asWorker.registry,
      issuer: asWorker.issuer,
      replies,
      rootCaPem: amazonRootCa(aws.rootCaFile),
      policyName,
      replayWindowMs: options.replayWindowMs ?? 86_400_000,
      leaseMs: 3000,
      now: Date.now,
      makeKey: (serial: string) => makeEcKey(serial, ownerTagOf(table)),
      seal: sealer,
    };
    const worker = startWorker({ redis: connector, concurrency: 16, context, log, audit });
    return lifecycle.add({
      name: 'worker',
      async close() {
        await worker.close();
        await replies.close();
      },
    });
  };
  const startOneBroker = async () => {
    const tls = await loadTlsMaterial({ dataDir, hostnames: ['localhost'], machineName: 'test' });
    const [requests, replies] = [createRequestQueue(connector, log), createReplyFeed(connector, log)];
    const { limits = {}, suites = 'modern' } = options;
    const feed = createRosterFeed(connector, log);
    const roster = await openRoster(feed, await loadGatewayKey(dataDir), log);
    const tokenAttempts = createTokenAttemptLimiter(connector, log, options.tokenAttempts);
    const parts = { requests, replies, roster, tokenAttempts, audit, log, limits };
    const broker = await startBroker({ port: 0, listen: '127.0.0.1', tls, suites, ...parts });
    lifecycle.add({
      name: 'broker',
      async close() {
        await broker.close();
        await Promise.all([requests.close(), replies.close(), feed.close(), tokenAttempts.close()]);
      },
    });
    return {
      port: broker.port,
      roster,
      counters: () => broker.counters(),
      caPem: tls.caPem ?? '',
      caFile: tls.caFile ?? '',
    };
  };
  /** what `cvm devices` works with */
  const operator: OperatorDeps = {
    registry,
    issuer,
    gateways: () => gateways.known(Date.now()),
    announce: (serials) => changes.announce(serials),
    audit,
    now: Date.now,
    makeToken,
  };
  const worker = startOneWorker();
  const broker = await startOneBroker();

  return {
    dataDir,
    audit,
    auditDir,
    redis,
    aws,
    iot,
    dynamo,
    registry,
    gateways,
    issuer,
    operator,
    /** the same with the rights of the worker */
    asWorker,
    broker,
    worker,
    startOneBroker,
    startOneWorker,
    logText: () => logLines.join(''),
    /** The gateways to which the keys of new tokens are sealed. */
    gatewayKeys: operator.gateways,
    /** Tells the brokers that these devices changed in the table. */
    announce: operator.announce,
    /** Enrols a device with a fresh token. The brokers are not told, and the audit trail has no record of it. */
    async enrol(serial: string, settings: EnrolSettings = {}) {
      const quiet = { ...operator, announce: async () => {}, audit: noAudit };
      const [device] = (await enrol([{ ...settings, serial }], quiet)).outcomes;
      if (device?.outcome !== 'enrolled') throw new Error(`${serial} was not enrolled: ${device?.outcome}`);
      return { serial, token: device.token };
    },
    /** Enrols a device as `cvm devices add` does, and waits until the broker knows it. */
    async enrolOnRoster(serial: string) {
      await until(async () => (await gateways.known(Date.now())).length > 0);
      const device = await this.enrol(serial);
      await changes.announce([serial]);
      await until(async () => broker.roster.keysOf(serial) !== undefined);
      return device;
    },
    /** A new token for a device, as `cvm devices reissue` makes it. */
    async reissueOnRoster(serial: string) {
      const result = await reissue(serial, { onToken: () => {} }, { ...operator, audit: noAudit });
      if (result.outcome !== 'reissued') throw new Error(`${serial} was not reissued: ${result.outcome}`);
      return result.token;
    },
    async removeAndAnnounce(serial: string) {
      const device = await registry.find(serial);
      if (device !== undefined) await registry.remove(device);
      await changes.announce([serial]);
    },
    async close() {
      await lifecycle.close();
      iot.destroy();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** What `cvm aws setup` does. */
async function setUp(common: { region: string; credentials: typeof credentials; endpoint: string }): Promise<void> {
  const options = { ...common, role: 'setup' } as const;
  const [dynamo, iot] = [connectDynamoDb(options), connectIot(options)];
  await Promise.all([ensureTable(dynamo, table), ensurePolicy(iot, policyName)]);
  dynamo.destroy();
  iot.destroy();
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 400; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('waited for 10 s in vain');
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>;

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { IoTClient } from '@aws-sdk/client-iot';
import { createApp, keepAudit } from '../../app/app.ts';
import { connectIssuer, connectTable } from '../../app/aws.ts';
import { setUpAws } from '../../app/aws-setup.ts';
import { connectQueue, loadIdentity, loadTls, openGuards, serveDevices, tellHealth } from '../../app/broker.ts';
import { startConsolePart } from '../../app/console.ts';
import { openExplainer } from '../../app/explain.ts';
import { connectOperator } from '../../app/operator.ts';
import { announcePart } from '../../app/running-part.ts';
import { connectTakeover } from '../../app/takeover.ts';
import { connectWorker, startProvisioning, startRosterKeeping } from '../../app/worker.ts';
import { type AwsLocal, startAwsLocal } from '../../aws-local/main.ts';
import type { Limits } from '../../broker/limits.ts';
import { createApiToken } from '../../console/api-tokens.ts';
import { type EnrolSettings, enrol } from '../../operator/enrol.ts';
import { reissue } from '../../operator/reissue.ts';
import { hashToken } from '../../protocol/token.ts';
import { disconnectRedis, redisAt } from '../../queue/redis.ts';
import { jobKey } from '../../queue/stored-keys.ts';
import type { TokenAttemptLimits } from '../../queue/token-attempts.ts';
import type { SourceForm } from '../../registry/source-table.ts';
import { noAudit } from '../../runtime/audit.ts';
import type { AwsQuotas } from '../../runtime/aws-quotas.ts';
import { startEmbeddedRedis } from '../../runtime/embedded-redis.ts';
import { createLifecycle } from '../../runtime/lifecycle.ts';
import { createLog, type Log } from '../../runtime/log.ts';
import type { RedisPlace } from '../../runtime/redis-place.ts';
import { loadSettings, type Settings } from '../../runtime/settings.ts';
import { createGatewayRegister } from '../../worker/gateway-register.ts';
import { createTableKey } from '../../worker/table-key.ts';
import { metricOf } from './metrics.ts';
import { startProxy } from './proxy.ts';

export type GatewayOptions = {
  logLevel?: string;
  replayWindowMs?: number;
  limits?: Partial<Limits>;
  /** of the account: none, unless given */
  quotas?: AwsQuotas;
  suites?: 'modern' | 'old';
  /** settings, as in the environment */
  env?: Readonly<Record<string, string>>;
  tokenAttempts?: Partial<TokenAttemptLimits>;
  /** another gateway of the same table: with a Redis, a broker and a worker of its own */
  beside?: { readonly aws: AwsLocal };
  /** another Redis than the one that is started with the gateway */
  redisPlace?: RedisPlace | string;
  /** puts a proxy in front of Redis and of AWS */
  proxies?: boolean;
};

/** A whole gateway on real parts: TLS broker, Redis, worker, the AWS stand-in behind the real SDK; all on free ports. */
export async function startGateway(options: GatewayOptions = {}) {
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
  try {
    return await startParts(options, { dataDir, log, lifecycle, logText: () => logLines.join('') });
  } catch (error) {
    await lifecycle.close();
    rmSync(dataDir, { recursive: true, force: true });
    throw error;
  }
}

type Base = { dataDir: string; log: Log; lifecycle: ReturnType<typeof createLifecycle>; logText(): string };

async function startParts(options: GatewayOptions, { dataDir, log, lifecycle, logText }: Base) {
  const server = lifecycle.add(await startEmbeddedRedis({ dataDir, log }));
  const startCloud = async () => {
    const cloud = await startAwsLocal({
      dataDir: join(dataDir, 'aws-local'),
      httpPort: 0,
      mqttPort: 0,
      quotas: options.quotas ?? 'off',
      log,
    });
    lifecycle.add({ name: 'aws', close: () => cloud.close() });
    return cloud;
  };
  const aws = options.beside?.aws ?? (await startCloud());
  const [redisUrl, awsUrl] = [new URL(server.url), new URL(aws.httpUrl)];
  const proxyOf = async (url: URL) => {
    const proxy = await startProxy(Number(url.port));
    lifecycle.add({ name: 'proxy', close: proxy.close });
    url.port = String(proxy.port);
    return proxy;
  };
  const network = options.proxies ? { redis: await proxyOf(redisUrl), aws: await proxyOf(awsUrl) } : undefined;
  const settings = settingsFor(dataDir, { ...aws, httpUrl: awsUrl.origin }, options);
  const app = { ...createApp(settings, log), lifecycle };
  const redis = redisAt(options.redisPlace ?? redisUrl.href);
  await setUpAws(settings);
  const audit = keepAudit(app, 'test');

  // the calls of each role are compared with its IAM policy, so each part calls with the role that it has in the product
  const asWorker = { ...connectTable(app, 'gateway'), issuer: connectIssuer(app, 'gateway') };
  const asOperator = connectTable(app, 'operator');
  const { gateways } = asOperator;
  // of no role: tests look, and change what the product would not
  const [dynamo, iot] = [new DynamoDBClient(settings.aws), new IoTClient(settings.aws)];
  /** what `cvm devices` works with */
  const operator = connectOperator(app, audit);
  const { registry, issuer } = operator;
  const register = createGatewayRegister({
    gateways: asWorker.gateways,
    audit,
    log,
    site: settings.site,
    now: Date.now,
  });
  startRosterKeeping(app, redis, { table: asWorker, gateways: register }, { pollMs: 100 });

  /** Closed by itself, or with the gateway. */
  const partOf = (name: string, ownDataDir = dataDir) => {
    const part = createApp({ ...settings, dataDir: ownDataDir }, log);
    lifecycle.add({ name, close: () => part.lifecycle.close() });
    return part;
  };
  const startOneWorker = () => {
    const part = partOf('worker');
    announcePart(part, redis, 'worker');
    startProvisioning(part, redis, { ...connectWorker(part, redis, options.tokenAttempts), audit }, { leaseMs: 3000 });
    return { close: () => part.lifecycle.close(), metricsText: () => part.metricsRegistry.metrics() };
  };
  /** @param dataDir of a gateway of its own; without it, one more broker of this gateway */
  const startOneBroker = async (ownDataDir?: string) => {
    const part = partOf('broker', ownDataDir);
    const health = tellHealth(part, redis);
    announcePart(part, redis, 'broker');
    const identity = await loadIdentity(part, redis);
    const guards = await openGuards(part, redis, identity, options.tokenAttempts);
    const limits = { ...guards.limits, ...options.limits };
    const deps = { ...connectQueue(part, redis, identity), ...guards, limits, audit };
    const { broker, tls } = await serveDevices(part, deps, await loadTls(part));
    health.watch(broker, audit, identity.table);
    return {
      close: () => part.lifecycle.close(),
      port: broker.port,
      roster: guards.roster,
      /** a metric of this broker: the sum over its time series with these labels */
      metric: (name: string, labels?: Readonly<Record<string, string>>) => metricOf(part.metricsRegistry, name, labels),
      metricsText: () => part.metricsRegistry.metrics(),
      caPem: tls.caPem ?? '',
      caFile: tls.caFile ?? '',
    };
  };
  /**
   * The console of this gateway, and an API token for it, by which it can be asked also while Redis is away.
   * @param now epoch milliseconds
   */
  const startOneConsole = async (now: () => number = Date.now) => {
    const part = createApp({ ...settings, console: { ...settings.console, port: 0 } }, log);
    lifecycle.add({ name: 'console', close: () => part.lifecycle.close() });
    const { port } = await startConsolePart({ ...part, awsTime: { ...part.awsTime, now } }, redis, {});
    const made = await createApiToken(dataDir, { name: `test-${port}`, role: 'viewer' }, Date.now());
    if (made.outcome !== 'created') throw new Error(`no API token was made: ${made.outcome}`);
    return { port, token: made.token };
  };
  const worker = startOneWorker();
  const broker = await startOneBroker();

  return {
    dataDir,
    audit,
    auditDir: settings.auditDir,
    settings,
    redis: server,
    aws,
    /** with `proxies` */
    network,
    iot,
    dynamo,
    registry,
    gateways,
    issuer,
    operator,
    takeover: (from: string, form: SourceForm | undefined, callsPerSecond: number) =>
      connectTakeover(app, audit, { from, form, callsPerSecond, onWait: () => {} }),
    /** the table with the rights of the operator */
    asOperator,
    /** the table and the issuer with the rights of the worker */
    asWorker,
    broker,
    worker,
    startOneBroker,
    startOneWorker,
    startOneConsole,
    /** What `cvm explain` asks. @param now epoch milliseconds */
    explainerAt: (
      now: () => number,
      table: Parameters<typeof openExplainer>[2] = asOperator,
      bounds: Omit<NonNullable<Parameters<typeof openExplainer>[3]>, 'now'> = {},
    ) => openExplainer(app, redis, table, { ...bounds, now }),
    logText,
    /** Signs for the table, as its workers do. */
    tableKey: createTableKey(gateways),
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
    async enrolOnRoster(serial: string, settings: EnrolSettings = {}) {
      await until(async () => (await operator.gateways()).length > 0);
      const device = await this.enrol(serial, settings);
      await operator.announce([serial], settings.site);
      await until(async () => broker.roster.keysOf(serial) !== undefined);
      return device;
    },
    /** A new token for a device, as `cvm devices reissue` makes it; resolves when the broker knows it, and the old one no longer. */
    async reissueOnRoster(serial: string) {
      const result = await reissue(serial, { onToken: () => {} }, { ...operator, audit: noAudit });
      if (result.outcome !== 'reissued') throw new Error(`${serial} was not reissued: ${result.outcome}`);
      await until(async () => broker.roster.matchesToken(serial, hashToken(result.token)));
      return result.token;
    },
    /**
     * Resolves when the queue is empty. An answer reaches its device a moment before its request leaves the queue: until then, what the device
     * asks next is taken for the same request, or has to wait for it.
     */
    async queueIsEmpty() {
      const connection = redis.connect('wait', log);
      const isEmpty = async () => {
        const lists = [connection.llen(jobKey('wait')), connection.llen(jobKey('active'))];
        const sets = [connection.zcard(jobKey('delayed')), connection.zcard(jobKey('prioritized'))];
        return (await Promise.all([...lists, ...sets])).every((length) => length === 0);
      };
      await until(isEmpty);
      await disconnectRedis(connection);
    },
    async removeAndAnnounce(serial: string) {
      const device = await registry.find(serial);
      if (device !== undefined) await registry.remove(device, Date.now());
      await operator.announce([serial]);
    },
    async close() {
      await lifecycle.close();
      dynamo.destroy();
      iot.destroy();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

function settingsFor(
  dataDir: string,
  aws: { readonly httpUrl: string; readonly rootCaFile: string },
  { replayWindowMs, suites, env = {} }: NonNullable<Parameters<typeof startGateway>[0]>,
): Settings {
  const settings = loadSettings({
    CVM_DATA_DIR: dataDir,
    CVM_HOSTNAMES: 'localhost',
    CVM_LISTEN: '127.0.0.1',
    CVM_QUOTAS: 'off',
    CVM_MQTT_PORT: '0',
    CVM_ROOT_CA: aws.rootCaFile,
    CVM_TLS_SUITES: suites,
    CVM_WORKER_CONCURRENCY: '16',
    ...env,
  });
  const credentials = { accessKeyId: 'test', secretAccessKey: 'test' };
  return {
    ...settings,
    aws: { region: 'us-east-1', endpoint: aws.httpUrl, credentials },
    replayWindowMs: replayWindowMs ?? settings.replayWindowMs,
  };
}

async function until(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 1800; tries++) {
    if (await condition()) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error('waited for 45 s in vain');
}

export type Gateway = Awaited<ReturnType<typeof startGateway>>;

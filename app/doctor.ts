import { X509Certificate } from 'node:crypto';
import { chmodSync } from 'node:fs';
import { isIP } from 'node:net';
import { quotaRule } from '../aws/quota-buckets.ts';
import { vendingCalls } from '../issuer/vending-calls.ts';
import type { CertificateFacts, DoctorSources, Part, SettingsFacts } from '../operator/doctor/sources.ts';
import type { Read } from '../operator/status.ts';
import { disconnectRedis, type RedisConnector, triedConnector, untilFirstTried } from '../queue/redis.ts';
import { readRedisFacts, switchOnAppendOnly } from '../queue/redis-facts.ts';
import { watchRedis } from '../queue/redis-health.ts';
import { createQuotaBuckets } from '../queue/redis-quota-buckets.ts';
import { createRunningParts } from '../queue/redis-running-parts.ts';
import { expiryAttribute } from '../registry/dynamodb/named-attributes.ts';
import { defaultAwsQuotas } from '../runtime/aws-quotas.ts';
import { within } from '../runtime/deadline.ts';
import { errorText } from '../runtime/errors.ts';
import { isThere } from '../runtime/is-there.ts';
import type { Settings } from '../runtime/settings.ts';
import { checkDataFolder } from '../site-tls/data-format.ts';
import { tlsFilesIn, tlsOptions } from '../site-tls/material.ts';
import { readTlsMaterial, renewTlsMaterial } from '../site-tls/site-ca.ts';
import type { App } from './app.ts';
import type { OfAws } from './doctor-aws.ts';
import { isStandInAt, once, problemOf, redisMs } from './doctor-reading.ts';
import {
  diskFacts,
  folderFacts,
  inContainer,
  memoryFacts,
  portFacts,
  proxyFacts,
  timeIsSynchronized,
} from './machine.ts';
import { absentProfile, cluesOf, mixedAws } from './which-aws.ts';

/**
 * What the doctor's checks look at. Everything is read once, when the first check asks for it; what is opened closes with the app.
 * @param redis undefined where there is none to ask
 * @param parts whose machine this is
 */
export function openDoctor(app: App, redis: RedisConnector | undefined, parts: readonly Part[]): DoctorSources {
  const { settings } = app;
  return {
    settings: settingsFacts(settings),
    parts,
    now: () => Date.now(),
    certificate: once(async () => certificateFacts(settings)),
    port: once(() => portFacts(settings)),
    folders: once(async () => folderFacts(settings)),
    disks: once(async () => diskFacts(settings)),
    memory: async () => memoryFacts(),
    timeIsSynchronized: async () => timeIsSynchronized(),
    proxies: once(() => proxyFacts(settings.proxy, calledEndpoints(settings))),
    ...redisSources(app, redis),
    ...lateAwsSources(app, redis),
    ...mending(app, redis),
  };
}

/** Where calls to AWS go, as URLs; without a setting, AWS's own of the region. */
function calledEndpoints({ aws: { endpoint, region = 'us-east-1' }, awsEnvironment }: Settings): string[] {
  const { iotEndpoint, dynamoDbEndpoint } = awsEnvironment;
  const own = (service: string) => `https://${service}.${region}.amazonaws.com`;
  return [endpoint ?? iotEndpoint ?? own('iot'), endpoint ?? dynamoDbEndpoint ?? own('dynamodb')];
}

/** The calls of a vend whose quota bounds how many devices a second are served: docs/quotas.md */
const scarceCalls = [...new Set((['ec', 'rsa'] as const).flatMap((key) => vendingCalls(key, { group: false })))].map(
  (action) => action.slice('iot:'.length),
);

function settingsFacts(settings: Settings): SettingsFacts {
  const { hostnames, site, table, policyName, newSite, awsQuotas, sweep, redisReplicas } = settings;
  const { endpoint } = settings.aws;
  return {
    // with the stand-in of `cvm up --local-aws` all of it belongs together
    problems: [...absentProfile(settings), ...(endpoint === undefined ? mixedAws(cluesOf(settings)) : [])],
    ...{ hostnames, site, table, policyName, newSite },
    quotasOff: Object.keys(awsQuotas).length === 0,
    quotas: scarceCalls.flatMap((operation) => {
      const [perSecond, byDefault] = [awsQuotas[operation], defaultAwsQuotas[operation]];
      return perSecond === undefined || byDefault === undefined ? [] : [{ operation, perSecond, byDefault }];
    }),
    sweepEveryMs: sweep.intervalMs,
    replicas: redisReplicas?.count ?? 0,
    isStandIn: isStandInAt(settings),
    inContainer: inContainer(),
    timeToLiveAttribute: expiryAttribute,
  };
}

function certificateFacts(settings: Settings): Read<CertificateFacts | undefined> {
  const options = tlsOptions(settings);
  const own = options.own !== undefined;
  // the broker makes the files at its first start
  if (!own && !isThere(tlsFilesIn(settings.dataDir, settings.tlsKeyType === 'rsa' ? 'rsa' : 'ec').cert))
    return { value: undefined };
  try {
    const { cert, names, notBefore, notAfter, caNotAfter } = readTlsMaterial(options);
    const certificate = new X509Certificate(cert);
    const verifies = (name: string) =>
      (isIP(name) === 0 ? certificate.checkHost(name) : certificate.checkIP(name)) !== undefined;
    return {
      value: {
        own,
        names,
        missing: settings.hostnames.filter((name) => !verifies(name)),
        notBefore: notBefore.getTime(),
        notAfter: notAfter.getTime(),
        caNotAfter: caNotAfter?.getTime(),
      },
    };
  } catch (error) {
    return problemOf(error, 'restore it from a backup, or correct CVM_TLS_CERT and CVM_TLS_KEY');
  }
}

type OfRedis = Pick<DoctorSources, 'redis' | 'processes' | 'throttled'>;

const noRedis = (settings: Settings) => ({
  problem: `REDIS_URL is not set, and no "cvm up" runs on the data folder ${settings.dataDir}`,
  cure: 'start the gateway ("cvm up"), or set REDIS_URL as the gateway has it',
});
const redisAway = { problem: 'not known while Redis is away' };

function redisSources({ settings, log, lifecycle }: App, connector: RedisConnector | undefined): OfRedis {
  if (connector === undefined) {
    const away = async () => redisAway;
    return { redis: async () => noRedis(settings), processes: away, throttled: away };
  }
  const silent = log.child({}, { level: 'silent' });
  const redis = once(async (): ReturnType<OfRedis['redis']> => {
    const { connector: made, tried } = triedConnector(connector);
    const connection = made.connect('probe', silent);
    const health = watchRedis(made, silent, settings.redisReplicas);
    try {
      await tried();
      const facts = await within(redisMs, 'reading Redis', readRedisFacts(connection));
      const trouble = await within(redisMs, 'writing to Redis', health.look());
      const isOnThisMachine = /^(localhost|127\.|\[::1\])/.test(connector.where);
      return { value: { ...facts, where: connector.where, isOnThisMachine, trouble } };
    } catch (error) {
      const trouble = await within(redisMs, 'Redis', health.look()).catch(() => undefined);
      return trouble ?? problemOf(error, 'see the log of Redis, and the network between');
    } finally {
      void disconnectRedis(connection);
      void health.close();
    }
  });
  const ifThere = async <T>(read: () => Promise<T>): Promise<Read<T>> => {
    if (!('value' in (await redis()))) return redisAway;
    return within(redisMs, 'reading Redis', read()).then(
      (value) => ({ value }),
      (error: unknown) => ({ problem: errorText(error) }),
    );
  };
  const opened = <T extends { close(): Promise<void> }>(name: string, part: T): T => {
    lifecycle.add({ name, close: () => part.close() });
    return part;
  };
  return {
    redis,
    processes: once(() => ifThere(() => opened('running parts', createRunningParts(connector, silent)).list())),
    throttled: once(() =>
      ifThere(async () => {
        const limits = settings.awsQuotas;
        const { connector: made, tried } = triedConnector(connector);
        const buckets = opened('quota buckets', createQuotaBuckets(made, silent, limits, quotaRule));
        await tried();
        const rates = await buckets.rates();
        return Object.entries(limits)
          .map(([name, limitPerSecond]) => ({ name, limitPerSecond, allowedPerSecond: rates[name] ?? limitPerSecond }))
          .filter(({ limitPerSecond, allowedPerSecond }) => allowedPerSecond < limitPerSecond * 0.9);
      }),
    ),
  };
}

/** What AWS is asked for is opened when a check asks for it: the broker, which looks at its machine at each start, has no AWS. */
function lateAwsSources(app: App, connector: RedisConnector | undefined): OfAws {
  const open = once(async () => (await import('./doctor-aws.ts')).openAwsSources(app, connector));
  return {
    credentials: async () => (await open()).credentials(),
    aws: async () => (await open()).aws(),
    tableKeys: async () => (await open()).tableKeys(),
    gateway: async () => (await open()).gateway(),
    endpoint: async () => (await open()).endpoint(),
    policy: async () => (await open()).policy(),
    accountQuotas: async () => (await open()).accountQuotas(),
    table: async () => (await open()).table(),
    backups: async () => (await open()).backups(),
    timeToLive: async () => (await open()).timeToLive(),
    sweptAt: async () => (await open()).sweptAt(),
    permissions: async (service) => (await open()).permissions(service),
  };
}

function mending({ settings, log }: App, connector: RedisConnector | undefined): Pick<DoctorSources, 'mend'> {
  return {
    mend: {
      async permissionsOf(path, mode) {
        chmodSync(path, mode);
        return `${path} has the mode ${mode.toString(8)}`;
      },
      async appendOnly() {
        if (connector === undefined) throw new Error('there is no Redis');
        const redis = connector.connect('probe', log.child({}, { level: 'silent' }));
        try {
          await untilFirstTried(redis);
          const problem = await within(redisMs, 'CONFIG SET', switchOnAppendOnly(redis));
          if (problem !== undefined) throw new Error(problem);
          return 'appendonly yes is set in the running server; see that its configuration file has it as well';
        } finally {
          void disconnectRedis(redis);
        }
      },
      async serverCertificate() {
        checkDataFolder(settings.dataDir);
        const { names } = await renewTlsMaterial(tlsOptions(settings));
        return `the certificate was renewed, with ${names.join(', ')}; a running broker uses it within a minute`;
      },
    },
  };
}

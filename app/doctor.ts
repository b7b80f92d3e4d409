import { X509Certificate } from 'node:crypto';
import { chmodSync } from 'node:fs';
import { isIP } from 'node:net';
import { findAccess } from '../aws/access.ts';
import { connectDynamoDb } from '../aws/client.ts';
import { isAwsEndpoint } from '../aws/endpoints.ts';
import { awsErrorName, isDenied } from '../aws/errors.ts';
import { actionsOf, partitionOf } from '../aws/iam-policy.ts';
import { type PermissionTry, type Try, tryPermission } from '../aws/permission-try.ts';
import { quotaRule } from '../aws/quota-buckets.ts';
import { ignoreNotFound } from '../issuer/expected-errors.ts';
import { arnPrefixOf, iotPermissionTries } from '../issuer/permission-tries.ts';
import { vendingCalls } from '../issuer/vending-calls.ts';
import { forEachBounded } from '../operator/bounded.ts';
import type { CertificateFacts, DoctorSources, Part, SettingsFacts, TableFacts } from '../operator/doctor/sources.ts';
import type { Read } from '../operator/status.ts';
import { disconnectRedis, type RedisConnector, triedConnector, untilFirstTried } from '../queue/redis.ts';
import { readRedisFacts, switchOnAppendOnly } from '../queue/redis-facts.ts';
import { watchRedis } from '../queue/redis-health.ts';
import { createQuotaBuckets } from '../queue/redis-quota-buckets.ts';
import { createRunningParts } from '../queue/redis-running-parts.ts';
import { createTableKeyReader } from '../queue/table-key.ts';
import { dynamoPermissionTries } from '../registry/dynamodb/looks.ts';
import { siteIndex } from '../registry/dynamodb/site-index.ts';
import { expiryAttribute, keyAttribute } from '../registry/dynamodb/table.ts';
import { openTableUpkeep } from '../registry/dynamodb/upkeep.ts';
import { defaultAwsQuotas } from '../runtime/aws-quotas.ts';
import { within } from '../runtime/deadline.ts';
import { errorText, systemCure } from '../runtime/errors.ts';
import { isThere } from '../runtime/is-there.ts';
import type { Settings } from '../runtime/settings.ts';
import { cureOf, UpstreamRefused } from '../runtime/upstream.ts';
import { signingKeyFrom } from '../sealing/signing.ts';
import { gatewayIdIn } from '../site-tls/gateway-key.ts';
import { tlsFilesIn, tlsOptions } from '../site-tls/material.ts';
import { readTlsMaterial, renewTlsMaterial } from '../site-tls/site-ca.ts';
import { pinnedTableKey } from '../site-tls/table-key.ts';
import type { App } from './app.ts';
import { connectTable, iotFor, openTableFor } from './aws.ts';
import {
  diskFacts,
  folderFacts,
  inContainer,
  memoryFacts,
  portFacts,
  proxyFacts,
  reaches,
  timeIsSynchronized,
} from './machine.ts';
import { absentProfile, cluesOf, mixedAws } from './which-aws.ts';

/** Milliseconds: for Redis, for AWS to answer at all, and for one call afterwards. */
const [redisMs, awsMs, callMs] = [3000, 5000, 5000];

/** One try of a call, so that the answer is there in time. */
const impatient = { answerMs: callMs, maxAttempts: 1 };

/** The one action that a gateway can do without. */
const cameAlive = 'iot:GetThingConnectivityData';

/** How many permissions are tried at a time. */
const triesAtATime = 6;

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
    ...awsSources(app, redis),
    ...mending(app, redis),
  };
}

function once<T>(read: () => Promise<T>): () => Promise<T> {
  let reading: Promise<T> | undefined;
  return () => {
    reading ??= read();
    return reading;
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
      const perSecond = awsQuotas[operation];
      return perSecond === undefined
        ? []
        : [{ operation, perSecond, isDefault: perSecond === defaultAwsQuotas[operation] }];
    }),
    sweepEveryMs: sweep.intervalMs,
    replicas: redisReplicas?.count ?? 0,
    isStandIn: isStandInAt(settings),
    inContainer: inContainer(),
    timeToLiveAttribute: expiryAttribute,
  };
}

function isStandInAt({ aws, awsEnvironment }: Settings): boolean {
  const iot = aws.endpoint ?? awsEnvironment.iotEndpoint;
  return iot !== undefined && !isAwsEndpoint(iot);
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

function problemOf(error: unknown, otherwise?: string): { problem: string; cure?: string } {
  const cure = cureOf(error) ?? systemCure(error) ?? otherwise;
  return { problem: errorText(error), ...(cure === undefined ? {} : { cure }) };
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

type OfAws = Omit<
  DoctorSources,
  | keyof OfRedis
  | 'settings'
  | 'parts'
  | 'now'
  | 'certificate'
  | 'port'
  | 'folders'
  | 'disks'
  | 'memory'
  | 'timeIsSynchronized'
  | 'proxies'
  | 'mend'
>;

function awsSources(app: App, connector: RedisConnector | undefined): OfAws {
  const { settings, awsTime, awsConnections: connections, awsCredentials } = app;
  const open = once(async () => connectAws(app));
  const credentials = once(async () => {
    const named =
      settings.awsVariables.length > 0 || settings.aws.credentials !== undefined || awsCredentials !== undefined;
    const found = await findAccess(
      { credentials: awsCredentials, ...settings.aws, connections },
      { waitMs: 3000, named },
    );
    const away = found.away === undefined ? undefined : errorText(found.away);
    return { region: found.region, account: found.account, missing: found.missing, away, named };
  });
  const aws = once(async () => {
    const { table, iot } = await open();
    const answers = await Promise.allSettled([
      within(awsMs, 'DynamoDB', table.restoration.latest()),
      within(awsMs, 'AWS IoT Core', iot.describeEndpoint()),
    ]);
    const failed = answers.find((each) => each.status === 'rejected' && !hasAnswered(each.reason));
    return failed === undefined || failed.status === 'fulfilled'
      ? { value: { offMs: awsTime.offMs() } }
      : problemOf(failed.reason);
  });
  const tableKeys = once(async () => {
    const pinned = pinnedTableKey(settings.dataDir);
    const [inRedis, ofTable] = await Promise.all([
      connector === undefined ? undefined : publishedKey(app, connector),
      'value' in (await aws()) ? open().then(({ table }) => tableKeyOf(table.gateways)) : undefined,
    ]);
    return { value: { inRedis, ofTable, pinned } };
  });
  /** What the identity may not read is no fault: only the doctor needs it. */
  const asked = <T>(read: () => Promise<T>) =>
    once(async (): Promise<Read<T>> => {
      try {
        return { value: await within(callMs, 'AWS', read()) };
      } catch (error) {
        return isDenied(error)
          ? {
              problem: `this identity may not read it (${errorText(error)}); "cvm aws policy --for doctor" prints what it needs`,
            }
          : { problem: errorText(error) };
      }
    });
  return {
    credentials,
    aws,
    tableKeys,
    gateway: once(async () => gatewayFacts(settings, aws, async () => (await open()).table.gateways.known())),
    endpoint: once(async () => {
      const { iot } = await open();
      const { endpointAddress: address = '' } = await within(callMs, 'DescribeEndpoint', iot.describeEndpoint());
      // a stand-in names no port of its own
      if (isStandInAt(settings)) return { value: { address } };
      const { host, port } = hostAndPort(address);
      const problem = await reaches(host, port);
      return { value: { address, ...(problem === undefined ? {} : { problem }) } };
    }),
    policy: asked(
      async () => (await (await open()).looks.iot.getPolicy(settings.policyName).catch(ignoreNotFound))?.policyDocument,
    ),
    table: asked(async () => tableFacts(await (await open()).looks.table.describe())),
    backups: asked(async () => (await open()).looks.more.backups()),
    timeToLive: asked(async () => (await open()).looks.more.timeToLive()),
    sweptAt: asked(async () => (await open()).table.lease.last()),
    permissions: async (service) =>
      tryPermissions(service, await open(), settings.policyName, async () => (await credentials()).account),
  };
}

type Aws = ReturnType<typeof connectAws>;

/** With the rights of each role, as AWS's records of calls show them. */
function connectAws(app: App) {
  const { settings, awsTime, awsConnections: connections, awsCredentials: credentials } = app;
  const client = connectDynamoDb({
    credentials,
    ...settings.aws,
    role: 'doctor',
    onDate: awsTime.hear,
    connections,
    ...impatient,
  });
  app.lifecycle.add({ name: 'dynamodb of the doctor', close: async () => client.destroy() });
  const { table, gate } = openTableFor(app, 'doctor', client);
  return {
    table: connectTable(app, 'operator', undefined, impatient),
    iot: iotFor(app, 'gateway', undefined, impatient),
    rows: {
      gateway: openTableFor(app, 'gateway', undefined, impatient).table,
      operator: openTableFor(app, 'operator', undefined, impatient).table,
    },
    looks: {
      iot: iotFor(app, 'doctor', undefined, impatient),
      table,
      more: openTableUpkeep(client, settings.table, gate),
    },
  };
}

/** Whatever it said, AWS answered; refusals of the credentials are none of a call. */
const hasAnswered = (error: unknown): boolean =>
  error instanceof UpstreamRefused &&
  (error.cause as { $metadata?: unknown } | undefined)?.$metadata !== undefined &&
  !/Token|Signature|Skewed|UnrecognizedClient/.test(awsErrorName(error));

async function publishedKey({ log }: App, connector: RedisConnector): Promise<string | undefined> {
  const reader = createTableKeyReader(connector, log.child({}, { level: 'silent' }));
  try {
    // the connection is being made
    return await within(redisMs, 'the key of the table', reader.readWhenTried());
  } catch {
    return undefined;
  } finally {
    void reader.close();
  }
}

async function tableKeyOf(gateways: { findSigningSeed(): Promise<string | undefined> }): Promise<string | undefined> {
  const seed = await within(callMs, 'the key of the table', gateways.findSigningSeed()).catch(() => undefined);
  return seed === undefined ? undefined : signingKeyFrom(Buffer.from(seed, 'hex')).publicKey;
}

async function gatewayFacts(
  { dataDir }: Settings,
  aws: () => Promise<Read<unknown>>,
  known: () => Promise<readonly { readonly id: string; readonly state: 'approved' | 'waiting' }[]>,
): ReturnType<DoctorSources['gateway']> {
  const id = gatewayIdIn(dataDir);
  if (id === undefined) return { value: { id, state: 'unknown' } };
  if (!('value' in (await aws()))) return { problem: 'not known while AWS does not answer' };
  try {
    const found = (await within(callMs, 'the gateways of the table', known())).find((each) => each.id === id);
    return { value: { id, state: found?.state ?? 'unknown' } };
  } catch (error) {
    return { problem: errorText(error) };
  }
}

function tableFacts(found: Awaited<ReturnType<Aws['looks']['table']['describe']>>): TableFacts | undefined {
  if (found === undefined) return undefined;
  const { status, keys, indexes, rows } = found;
  const index = indexes.find(({ name }) => name === siteIndex.name);
  const [key] = keys;
  return {
    status,
    rows,
    keys: keys.map(({ attribute, type }) => `"${attribute}" (${type})`),
    isAssociationTable: keys.length === 1 && key?.attribute === keyAttribute && key.type === 'S',
    index: index === undefined ? 'missing' : index.status === 'ACTIVE' ? 'there' : 'being-built',
  };
}

/** `localhost:8884` of a stand-in; AWS's has no port. */
function hostAndPort(address: string): { host: string; port: number } {
  const [host = '', port = '8883'] = address.split(':');
  return { host, port: Number(port) };
}

async function tryPermissions(
  service: 'iot' | 'dynamodb',
  aws: Aws,
  policyName: string,
  account: () => Promise<string | undefined>,
): Promise<Awaited<ReturnType<DoctorSources['permissions']>>> {
  const prefix = service === 'iot' ? await arnPrefix(aws, policyName, await account()) : undefined;
  const iot = iotPermissionTries(aws.iot, prefix);
  const rows = { gateway: dynamoPermissionTries(aws.rows.gateway), operator: dynamoPermissionTries(aws.rows.operator) };
  const wanted = (['gateway', 'operator'] as const).flatMap((of) =>
    actionsOf(of)
      .filter(
        (action) => action.startsWith(`${service}:`) && (of === 'gateway' || !actionsOf('gateway').includes(action)),
      )
      .map((action) => ({ of, action })),
  );
  const found = new Map<string, PermissionTry>();
  await forEachBounded(wanted, triesAtATime, async ({ of, action }) => {
    const attempt: Try = iot[action] ?? rows[of][action] ?? { untried: 'no call is known that changes nothing' };
    found.set(action, await tryPermission(action, attempt));
  });
  return wanted.flatMap(({ of, action }) => {
    const tried = found.get(action);
    return tried === undefined ? [] : [{ ...tried, of: action === cameAlive ? 'came-alive' : of }];
  });
}

/** As the source of the credentials, a certificate or the policy shows it. */
async function arnPrefix({ iot, looks }: Aws, policyName: string, account?: string): Promise<string | undefined> {
  if (account !== undefined) {
    const region = await iot.region();
    return `arn:${partitionOf(region)}:iot:${region}:${account}:`;
  }
  const [certificates, policy] = await Promise.allSettled([
    within(callMs, 'ListCertificates', iot.listCertificates({ pageSize: 1 })),
    within(callMs, 'GetPolicy', looks.iot.getPolicy(policyName)),
  ]);
  const listed = certificates.status === 'fulfilled' ? certificates.value.certificates?.[0]?.certificateArn : undefined;
  return arnPrefixOf(listed) ?? arnPrefixOf(policy.status === 'fulfilled' ? policy.value.policyArn : undefined);
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
        const { names } = await renewTlsMaterial(tlsOptions(settings));
        return `the certificate was renewed, with ${names.join(', ')}; a running broker uses it within a minute`;
      },
    },
  };
}

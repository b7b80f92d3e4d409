import { isIP } from 'node:net';
import { hostname } from 'node:os';
import { join, resolve } from 'node:path';
import { type AwsQuotas, awsQuotasOf } from './aws-quotas.ts';
import { isEmpty } from './empty-variables.ts';
import { nearestName } from './nearest-name.ts';
import { SettingsError } from './settings-error.ts';
import { composeNames, schema, settingNames } from './settings-schema.ts';

/** HTTP proxies on the way to AWS, as their variables name them; `except`: the hosts that are reached directly (NO_PROXY). */
export type ProxySettings = { readonly https?: string; readonly http?: string; readonly except?: string };

/** How AWS is reached. A part that is absent is found by the SDK's own chain: environment, profile, instance or container role, SSO. */
export type AwsAccess = {
  readonly region?: string;
  /** for both IoT Core and DynamoDB */
  readonly endpoint?: string;
  readonly credentials?: { readonly accessKeyId: string; readonly secretAccessKey: string };
};

/**
 * The variables that name an AWS account or its address. The SDK reads those that begin with AWS_ by itself, but for AWS_DEFAULT_REGION,
 * which is the AWS CLI's.
 */
const awsVariables = [
  'AWS_REGION',
  'AWS_DEFAULT_REGION',
  'AWS_PROFILE',
  'AWS_ACCESS_KEY_ID',
  'AWS_SECRET_ACCESS_KEY',
  'AWS_SESSION_TOKEN',
  'AWS_WEB_IDENTITY_TOKEN_FILE',
  'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI',
  'AWS_CONTAINER_CREDENTIALS_FULL_URI',
  'AWS_ENDPOINT_URL',
  'AWS_ENDPOINT_URL_IOT',
  'AWS_ENDPOINT_URL_DYNAMODB',
  'CVM_ROLE_ALIAS',
];

/** What the environment says of an AWS account, or of a stand-in in its place. The SDK reads the same variables by itself. */
export type AwsEnvironment = {
  readonly accessKeyId?: string | undefined;
  readonly profile?: string | undefined;
  /** where profiles are looked for, instead of .aws/config and .aws/credentials in the home folder */
  readonly profileFiles?: { readonly config: string | undefined; readonly credentials: string | undefined };
  readonly iotEndpoint?: string | undefined;
  readonly dynamoDbEndpoint?: string | undefined;
};

/** The port at which a part serves its metrics and its health. `isDefault`: the settings do not name it. */
export type MonitoringPort = { readonly port: number | 'off'; readonly isDefault: boolean };

export type MonitoringSettings = {
  readonly listen: string;
  /** also of `cvm up`, which serves all of its parts there */
  readonly broker: MonitoringPort;
  readonly worker: MonitoringPort;
  /** absolute path of a file with the bearer token; undefined: none is needed */
  readonly tokenFile: string | undefined;
};

/** Whether the environment says by itself where credentials come from. */
export const namesCredentials = ({ accessKeyId, profile }: AwsEnvironment): boolean =>
  accessKeyId !== undefined || profile !== undefined;

export type ConsoleSettings = {
  readonly port: number;
  /** a reverse proxy that has signed the person in names it in this header, in lower case; absent: there is none */
  readonly trusted?: {
    readonly header: string /** addresses, and networks in CIDR notation */;
    readonly from: readonly string[];
  };
  /** the persons of that header that may decide; all others only look */
  readonly operators: readonly string[];
};

export type Settings = {
  /** absolute path of the audit trail */
  auditDir: string;
  aws: AwsAccess;
  awsEnvironment: AwsEnvironment;
  /** calls a second that the account may make; an operation without an entry has no limit */
  awsQuotas: AwsQuotas;
  proxy: ProxySettings;
  /** which of the variables that name an AWS account are set */
  awsVariables: readonly string[];
  awsLocal: { httpPort: number; mqttPort: number; quotas: 'default' | 'off' | AwsQuotas; keyPool: number };
  /** whether a client certificate may stand for a group of devices; `caFile`: PEM, absolute path, in the place of the site CA */
  claims: { on: boolean; caFile: string | undefined };
  /** seals a backup; of no use to a part */
  backupPassphrase: string | undefined;
  console: ConsoleSettings;
  /** absolute path; everything that must survive a restart is in it */
  dataDir: string;
  /** absolute path of the files that `cvm health` reads */
  healthDir: string;
  /** names and addresses for the server certificate, beyond the machine's name and addresses */
  hostnames: readonly string[];
  /** which of the broker processes that share the port this is */
  brokerProcess: { number: number; of: number };
  machineName: string;
  /** address to listen on */
  listen: string;
  /** absolute path; undefined: standard error */
  logFile: string | undefined;
  /** undefined: pretty at a terminal, JSON elsewhere */
  logFormat: 'pretty' | 'json' | undefined;
  logLevel: string;
  monitoring: MonitoringSettings;
  mqttPort: number;
  /** this gateway may start although it is new, and the table knows others */
  newSite: boolean;
  policyName: string;
  /** TCP balancers whose connections begin with a PROXY protocol header: addresses, and networks in CIDR notation */
  proxyFrom: readonly string[];
  redisUrl: string | undefined;
  /** absolute path of a file with the password of that Redis; one in the URL comes first */
  redisPasswordFile: string | undefined;
  /** replicas that must have a request before its PUBACK; undefined: the answer of the one Redis is enough. `waitMs`: milliseconds */
  redisReplicas: { count: number; on: 'memory' | 'disk'; waitMs: number } | undefined;
  /** the same of the Sentinels */
  redisSentinelPasswordFile: string | undefined;
  /** milliseconds */
  replayWindowMs: number;
  /** the files of the gateway's own certificate of AWS IoT: absolute paths. They need not be there */
  gatewayCertificate: { certFile: string; keyFile: string };
  /** credentials come by this role alias of AWS IoT, instead of the SDK's own chain; `endpoint`: of the credentials provider, where it is set */
  roleAlias: { name: string; endpoint: string | undefined } | undefined;
  /** a PEM file that replaces Amazon Root CA 1 in replies */
  rootCaFile: string | undefined;
  /** the name of the site that this gateway serves */
  site: string | undefined;
  /** milliseconds: how often the workers compare the table with AWS, and from which age on the sweep touches anything */
  sweep: { intervalMs: number; graceMs: number };
  table: string;
  /** absolute path of the folder of provisioning templates */
  templatesDir: string;
  /** the operator's server certificate, instead of one that the site CA signs */
  tls: { certFile: string; keyFile: string } | undefined;
  /** of the server certificate that the site CA signs: P-256, RSA-2048 for firmware without elliptic curves, or each by the client's offer */
  tlsKeyType: 'ec' | 'rsa' | 'both';
  /** `old`: CBC suites as well, for firmware that has nothing better */
  tlsSuites: 'modern' | 'old';
  /** whether spans are made and sent; where to, the standard OTEL_ variables say */
  traces: boolean;
  /** PATH: the folders of programs */
  searchPath: string;
  /** of devices at the broker, in total and of one address */
  maxConnections: number;
  maxConnectionsPerAddress: number;
  workerConcurrency: number;
};

/**
 * Reads all settings from an environment. An empty variable counts as absent, as compose files and shells produce them.
 * @throws SettingsError with every problem at once
 */
export function loadSettings(env: NodeJS.ProcessEnv): Settings {
  const present = withProxies(Object.fromEntries(Object.entries(env).filter(([, value]) => !isEmpty(value))));
  const parsed = schema.safeParse(present);
  const problems = parsed.success
    ? []
    : parsed.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  problems.push(...unknownNames(present), ...halfPairs(present), ...openMetrics(present));
  if (!parsed.success || problems.length > 0) throw new SettingsError(problems.sort());
  const s = parsed.data;
  return {
    auditDir: resolve(s.CVM_AUDIT_DIR ?? join(s.CVM_DATA_DIR, 'audit')),
    aws: s.AWS_REGION === undefined ? {} : { region: s.AWS_REGION },
    awsEnvironment: awsEnvironmentOf(present),
    awsQuotas: awsQuotasOf(s.CVM_QUOTAS),
    proxy: proxyOf({ https: s.HTTPS_PROXY, http: s.HTTP_PROXY, except: s.NO_PROXY }),
    awsVariables: awsVariables.filter((name) => name in present),
    awsLocal: {
      httpPort: s.CVM_AWS_LOCAL_HTTP_PORT,
      mqttPort: s.CVM_AWS_LOCAL_MQTT_PORT,
      quotas: s.CVM_AWS_LOCAL_QUOTAS,
      keyPool: s.CVM_AWS_LOCAL_KEY_POOL,
    },
    claims: { on: s.CVM_CLAIMS, caFile: s.CVM_CLAIMS_CA === undefined ? undefined : resolve(s.CVM_CLAIMS_CA) },
    backupPassphrase: s.CVM_BACKUP_PASSPHRASE,
    console: {
      port: s.CVM_CONSOLE_PORT,
      operators: s.CVM_CONSOLE_OPERATORS,
      ...(s.CVM_CONSOLE_TRUSTED_HEADER === undefined
        ? {}
        : { trusted: { header: s.CVM_CONSOLE_TRUSTED_HEADER, from: s.CVM_CONSOLE_TRUSTED_FROM } }),
    },
    dataDir: resolve(s.CVM_DATA_DIR),
    healthDir: resolve(s.CVM_HEALTH_DIR ?? s.CVM_DATA_DIR),
    hostnames: s.CVM_HOSTNAMES,
    // a command says otherwise
    brokerProcess: { number: 1, of: 1 },
    machineName: hostname(),
    listen: s.CVM_LISTEN,
    logFile: s.CVM_LOG_FILE === undefined ? undefined : resolve(s.CVM_LOG_FILE),
    logFormat: s.LOG_FORMAT,
    logLevel: s.LOG_LEVEL,
    monitoring: {
      listen: s.CVM_METRICS_LISTEN,
      broker: { port: s.CVM_BROKER_METRICS_PORT ?? 9464, isDefault: s.CVM_BROKER_METRICS_PORT === undefined },
      worker: { port: s.CVM_WORKER_METRICS_PORT ?? 9465, isDefault: s.CVM_WORKER_METRICS_PORT === undefined },
      tokenFile: s.CVM_METRICS_TOKEN_FILE === undefined ? undefined : resolve(s.CVM_METRICS_TOKEN_FILE),
    },
    mqttPort: s.CVM_MQTT_PORT,
    newSite: s.CVM_NEW_SITE,
    policyName: s.CVM_POLICY_NAME,
    proxyFrom: s.CVM_PROXY_FROM,
    redisUrl: s.REDIS_URL,
    redisPasswordFile: s.CVM_REDIS_PASSWORD_FILE === undefined ? undefined : resolve(s.CVM_REDIS_PASSWORD_FILE),
    redisReplicas:
      s.CVM_REDIS_REPLICAS === 0
        ? undefined
        : { count: s.CVM_REDIS_REPLICAS, on: s.CVM_REDIS_REPLICAS_ON, waitMs: s.CVM_REDIS_REPLICAS_WAIT },
    redisSentinelPasswordFile:
      s.CVM_REDIS_SENTINEL_PASSWORD_FILE === undefined ? undefined : resolve(s.CVM_REDIS_SENTINEL_PASSWORD_FILE),
    replayWindowMs: s.CVM_REPLAY_WINDOW,
    gatewayCertificate: {
      certFile: resolve(s.CVM_ROLE_ALIAS_CERT ?? join(s.CVM_DATA_DIR, 'aws-gateway', 'gateway.crt')),
      keyFile: resolve(s.CVM_ROLE_ALIAS_KEY ?? join(s.CVM_DATA_DIR, 'aws-gateway', 'gateway.key')),
    },
    roleAlias:
      s.CVM_ROLE_ALIAS === undefined ? undefined : { name: s.CVM_ROLE_ALIAS, endpoint: s.CVM_ROLE_ALIAS_ENDPOINT },
    rootCaFile: s.CVM_ROOT_CA === undefined ? undefined : resolve(s.CVM_ROOT_CA),
    site: s.CVM_SITE,
    sweep: { intervalMs: s.CVM_SWEEP_INTERVAL, graceMs: s.CVM_SWEEP_GRACE },
    table: s.CVM_TABLE,
    templatesDir: resolve(s.CVM_TEMPLATES_DIR ?? join(s.CVM_DATA_DIR, 'templates')),
    tls:
      s.CVM_TLS_CERT && s.CVM_TLS_KEY
        ? { certFile: resolve(s.CVM_TLS_CERT), keyFile: resolve(s.CVM_TLS_KEY) }
        : undefined,
    tlsKeyType: s.CVM_TLS_KEY_TYPE,
    tlsSuites: s.CVM_TLS_SUITES,
    traces: s.CVM_TRACES && present.OTEL_SDK_DISABLED?.trim().toLowerCase() !== 'true',
    searchPath: env.PATH ?? '',
    maxConnections: s.CVM_MAX_CONNECTIONS,
    maxConnectionsPerAddress: s.CVM_MAX_CONNECTIONS_PER_ADDRESS,
    workerConcurrency: s.CVM_WORKER_CONCURRENCY,
  };
}

function awsEnvironmentOf(present: NodeJS.ProcessEnv): AwsEnvironment {
  return {
    accessKeyId: present.AWS_ACCESS_KEY_ID,
    profile: present.AWS_PROFILE,
    profileFiles: { config: present.AWS_CONFIG_FILE, credentials: present.AWS_SHARED_CREDENTIALS_FILE },
    iotEndpoint: present.AWS_ENDPOINT_URL_IOT ?? present.AWS_ENDPOINT_URL,
    dynamoDbEndpoint: present.AWS_ENDPOINT_URL_DYNAMODB ?? present.AWS_ENDPOINT_URL,
  };
}

/** Programs read these names in lower case as well. */
function withProxies(present: Record<string, string | undefined>): Record<string, string | undefined> {
  const { https_proxy: HTTPS_PROXY, http_proxy: HTTP_PROXY, no_proxy: NO_PROXY } = present;
  const inLowerCase = Object.entries({ HTTPS_PROXY, HTTP_PROXY, NO_PROXY }).filter(([, value]) => value !== undefined);
  return { ...Object.fromEntries(inLowerCase), ...present };
}

function proxyOf(named: Readonly<Record<keyof ProxySettings, string | undefined>>): ProxySettings {
  return Object.fromEntries(
    Object.entries(named).flatMap(([kind, value]) => (value === undefined ? [] : [[kind, value.trim()]])),
  );
}

/** Without this check, a mistyped name would be ignored silently. */
function unknownNames(present: Record<string, string | undefined>): string[] {
  const known = [...settingNames, ...composeNames];
  return Object.keys(present)
    .filter((name) => name.startsWith('CVM_') && !known.includes(name))
    .map(unknownSetting);
}

export function unknownSetting(name: string): string {
  const nearest = nearestName(name, settingNames);
  const meant = nearest === undefined ? '' : `did you mean ${nearest}? Otherwise `;
  return `${name}: there is no such setting; ${meant}correct or unset it (.env.example has all names)`;
}

/** Metrics and health tell how a site works: other machines need a token to read them. */
function openMetrics(present: Record<string, string | undefined>): string[] {
  const { CVM_METRICS_LISTEN: listen, CVM_METRICS_TOKEN_FILE: token } = present;
  if (listen === undefined || token !== undefined || isThisMachineAlone(listen)) return [];
  const ports = [present.CVM_BROKER_METRICS_PORT, present.CVM_WORKER_METRICS_PORT];
  if (ports.every((port) => port?.trim() === 'off')) return [];
  return [
    `CVM_METRICS_TOKEN_FILE: is needed where CVM_METRICS_LISTEN is ${listen.trim()}, which other machines reach: name a file with a token of 16 characters or more, or listen on 127.0.0.1`,
  ];
}

const isThisMachineAlone = (address: string): boolean =>
  address.trim() === 'localhost' ||
  address.trim() === '::1' ||
  (isIP(address.trim()) === 4 && /^127\./.test(address.trim()));

/** The AWS SDK would take half a pair of credentials for none, and use the next source that has some. */
const pairs = [
  ['CVM_TLS_CERT', 'CVM_TLS_KEY'],
  ['CVM_ROLE_ALIAS_CERT', 'CVM_ROLE_ALIAS_KEY'],
  ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'],
  ['CVM_CONSOLE_TRUSTED_HEADER', 'CVM_CONSOLE_TRUSTED_FROM'],
] as const;

function halfPairs(present: Record<string, string | undefined>): string[] {
  return pairs
    .filter(([one, other]) => !present[one] !== !present[other])
    .map(([one, other]) => `${one}, ${other}: give both or neither`);
}

import { isIP } from 'node:net';
import { z } from 'zod';
import { type AwsQuotas, readAwsQuotas } from './aws-quotas.ts';
import { hostNameProblem } from './host-name.ts';
import { redisUrlProblems } from './redis-place.ts';
import { siteNamePattern, siteNameRule } from './site-name.ts';

const units = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

/** `250ms`, `30s`, `15m`, `24h`, `7d` → milliseconds. Timers of Node.js end at once when they are to last over 24.8 days. */
const duration = (min: string, max: string) =>
  z.string().transform((text, context) => {
    const ms = durationMs(text);
    if (ms !== undefined && ms >= (durationMs(min) ?? 0) && ms <= (durationMs(max) ?? 0)) return ms;
    context.addIssue({
      code: 'custom',
      message: `"${text}" is not a duration from ${min} to ${max}; write a number and a unit: 250ms, 30s, 15m, 24h or 7d`,
    });
    return z.NEVER;
  });

function durationMs(text: string): number | undefined {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text.trim());
  return match ? Number(match[1]) * units[match[2] as keyof typeof units] : undefined;
}

const whole = (min: number, max: number) =>
  z.string().transform((text, context) => {
    const value = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
    if (value >= min && value <= max) return value;
    context.addIssue({ code: 'custom', message: `"${text}" is not a whole number from ${min} to ${max}` });
    return z.NEVER;
  });

const port = whole(0, 65_535);
/** `off`: nothing listens. */
const portOrOff = z.string().transform((text, context): number | 'off' => {
  if (text.trim() === 'off') return 'off';
  const number = /^\d+$/.test(text.trim()) ? Number(text) : Number.NaN;
  if (number <= 65_535) return number;
  context.addIssue({ code: 'custom', message: `"${text}" is neither a port, 0 to 65535, nor "off"` });
  return z.NEVER;
});
const flag = z.enum(['0', '1'], 'must be 1 or 0').transform((text) => text === '1');
const list = z.string().transform((text) => text.split(/[\s,]+/).filter((name) => name !== ''));
const hostNames = list.superRefine((names, context) => {
  for (const name of names) {
    const problem = hostNameProblem(name);
    if (problem !== undefined) context.addIssue({ code: 'custom', message: `"${name}" ${problem}` });
  }
});
const ofAllAddresses =
  'is the network of all addresses, so every machine could claim to be another; name the addresses of your balancers, or their network';

/** IP addresses, and networks in CIDR notation. A network of all addresses would let every machine claim to be another. */
const networks = list.superRefine((entries, context) => {
  for (const entry of entries) {
    const [address = '', prefix, ...more] = entry.split('/');
    const bits = isIP(address) === 6 ? 128 : 32;
    const isPrefix = prefix === undefined || (/^\d{1,3}$/.test(prefix) && Number(prefix) <= bits);
    const isNetwork = isIP(address) !== 0 && isPrefix && more.length === 0;
    if (isNetwork && (prefix === undefined || Number(prefix) > 0)) continue;
    const reason = isNetwork
      ? ofAllAddresses
      : 'is neither an IP address nor a network such as 10.0.0.0/24 or fd00::/64';
    context.addIssue({ code: 'custom', message: `"${entry}" ${reason}` });
  }
});
const redisUrl = z.string().superRefine((text, context) => {
  for (const message of redisUrlProblems(text)) context.addIssue({ code: 'custom', message });
});
const policyName = z
  .string()
  .regex(/^[\w+=,.@-]{1,128}$/, 'may hold letters, digits and +=,.@-_ (AWS IoT policy name, at most 128)');
const tableName = z
  .string()
  .regex(/^[A-Za-z0-9_.-]{3,255}$/, 'may hold letters, digits and _.- (DynamoDB table name, 3 to 255)');

const headerName = z
  .string()
  .regex(/^[A-Za-z0-9-]{1,64}$/, 'is no name of an HTTP header; write one such as X-Forwarded-User')
  .transform((name) => name.toLowerCase());

const quotas = z.string().transform((text, context): 'default' | 'off' | AwsQuotas => {
  const word = text.trim();
  if (word === 'default' || word === 'off') return word;
  const read = readAwsQuotas(text);
  for (const problem of read.problems)
    context.addIssue({ code: 'custom', message: `${problem}, or write "default" or "off" alone` });
  return read.quotas;
});

/** Every setting: its environment variable, form and default. settings-reference.ts says what each means, and a test compares the two. */
export const schema = z.object({
  AWS_REGION: z.string().optional(),
  CVM_AUDIT_DIR: z.string().optional(),
  CVM_AWS_LOCAL_HTTP_PORT: port.default(4566),
  CVM_AWS_LOCAL_KEY_POOL: whole(0, 10_000).default(0),
  CVM_AWS_LOCAL_MQTT_PORT: port.default(8884),
  CVM_AWS_LOCAL_QUOTAS: quotas.default('default'),
  CVM_BACKUP_PASSPHRASE: z.string().optional(),
  CVM_BROKER_METRICS_PORT: portOrOff.optional(),
  CVM_CLAIMS: flag.default(false),
  CVM_CLAIMS_CA: z.string().optional(),
  CVM_CONSOLE_OPERATORS: list.default([]),
  CVM_CONSOLE_PORT: port.default(8443),
  CVM_CONSOLE_TRUSTED_FROM: networks.default([]),
  CVM_CONSOLE_TRUSTED_HEADER: headerName.optional(),
  CVM_DATA_DIR: z.string().default('data'),
  CVM_HEALTH_DIR: z.string().optional(),
  CVM_HOSTNAMES: hostNames.default([]),
  CVM_LISTEN: z.string().default('0.0.0.0'),
  CVM_LOG_FILE: z.string().optional(),
  CVM_MAX_CONNECTIONS: whole(1, 1_000_000).default(10_000),
  CVM_MAX_CONNECTIONS_PER_ADDRESS: whole(1, 1_000_000).default(2000),
  CVM_METRICS_LISTEN: z.string().default('127.0.0.1'),
  CVM_METRICS_TOKEN_FILE: z.string().optional(),
  CVM_MQTT_PORT: port.default(8883),
  CVM_NEW_SITE: flag.default(false),
  CVM_POLICY_NAME: policyName.default('cvm-device'),
  CVM_PROXY_FROM: networks.default([]),
  CVM_QUOTAS: quotas.default('default'),
  CVM_REDIS_PASSWORD_FILE: z.string().optional(),
  CVM_REDIS_REPLICAS: whole(0, 10).default(0),
  CVM_REDIS_REPLICAS_ON: z.enum(['memory', 'disk'], 'must be "memory" or "disk"').default('memory'),
  // less than the time after which a broker gives up storing a request
  CVM_REDIS_REPLICAS_WAIT: duration('10ms', '4s').default(units.s),
  CVM_REDIS_SENTINEL_PASSWORD_FILE: z.string().optional(),
  CVM_REPLAY_WINDOW: duration('1ms', '365d').default(units.d),
  CVM_ROLE_ALIAS: z
    .string()
    .regex(/^[\w=,@-]{1,128}$/, 'may hold letters, digits and =,@-_ (AWS IoT role alias, at most 128)')
    .optional(),
  CVM_ROLE_ALIAS_CERT: z.string().optional(),
  CVM_ROLE_ALIAS_ENDPOINT: z
    .string()
    .regex(
      /^[a-z0-9][a-z0-9.-]*(:\d{1,5})?$/i,
      'must be a host name such as c1a2b3.credentials.iot.eu-west-1.amazonaws.com, without https://',
    )
    .optional(),
  CVM_ROLE_ALIAS_KEY: z.string().optional(),
  CVM_ROOT_CA: z.string().optional(),
  CVM_SITE: z.string().regex(siteNamePattern, siteNameRule).optional(),
  CVM_SWEEP_GRACE: duration('1m', '365d').default(15 * units.m),
  CVM_SWEEP_INTERVAL: duration('1m', '20d').default(units.h),
  CVM_TABLE: tableName.default('cvm-devices'),
  CVM_TEMPLATES_DIR: z.string().optional(),
  CVM_TLS_CERT: z.string().optional(),
  CVM_TLS_KEY: z.string().optional(),
  CVM_TLS_KEY_TYPE: z.enum(['ec', 'rsa', 'both'], 'must be "ec", "rsa" or "both"').default('ec'),
  CVM_TLS_SUITES: z.enum(['modern', 'old'], 'must be "modern" or "old"').default('modern'),
  CVM_TRACES: flag.default(false),
  CVM_WORKER_CONCURRENCY: whole(1, 256).default(64),
  CVM_WORKER_METRICS_PORT: portOrOff.optional(),
  HTTPS_PROXY: z.string().optional(),
  HTTP_PROXY: z.string().optional(),
  LOG_FORMAT: z.enum(['pretty', 'json'], 'must be "pretty" or "json"').optional(),
  LOG_LEVEL: z
    .enum(
      ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'],
      'must be trace, debug, info, warn, error, fatal or silent',
    )
    .default('info'),
  NO_PROXY: z.string().optional(),
  REDIS_URL: redisUrl.optional(),
});

export const settingNames: readonly string[] = Object.keys(schema.shape);

/** Settings with a secret value: no command, page or log shows it. */
export const secretSettings: readonly string[] = ['CVM_BACKUP_PASSPHRASE'];

/** The value of each setting that has a default, as it would be written in the environment. */
export const defaultSettings: Readonly<Record<string, string>> = Object.fromEntries(
  Object.entries(schema.parse({})).flatMap(([name, value]) =>
    value === undefined ? [] : [[name, defaultText(name, value)]],
  ),
);

function defaultText(name: string, value: unknown): string {
  if (typeof value === 'boolean') return value ? '1' : '0';
  if (/_(WINDOW|INTERVAL|GRACE|WAIT)$/.test(name)) return durationText(Number(value));
  return Array.isArray(value) ? value.join(' ') : String(value);
}

function durationText(ms: number): string {
  const unit = (['h', 'm', 's'] as const).find((each) => ms % units[each] === 0) ?? 'ms';
  return `${ms / units[unit]}${unit}`;
}

/** What only docker-compose.yml reads. It stands in the same .env. */
export const composeNames: readonly string[] = [
  'CVM_AWS_FOLDER',
  'CVM_BROKER_CPUS',
  'CVM_BROKER_MEMORY',
  'CVM_BROKER_PROCESSES',
  'CVM_CA_FOLDER',
  'CVM_CPUS',
  'CVM_GRAFANA_IMAGE',
  'CVM_GRAFANA_PORT',
  'CVM_IMAGE',
  'CVM_MEMORY',
  'CVM_PROMETHEUS_IMAGE',
  'CVM_REDIS_IMAGE',
  'CVM_REVISION',
  'CVM_ROLE_ALIAS_FOLDER',
  'CVM_TEMPLATES_FOLDER',
  'CVM_TLS_FOLDER',
];

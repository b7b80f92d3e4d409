import { awsErrorName } from '../aws/errors.ts';
import { quotaRule } from '../aws/quota-buckets.ts';
import { paceOf } from '../broker/line-estimate.ts';
import { judgeStatus } from '../operator/judge-status.ts';
import type {
  AwsPlace,
  CertificateState,
  DeviceCounts,
  DiskState,
  LineState,
  ProcessState,
  QuotaState,
  Read,
  Status,
  StatusFacts,
} from '../operator/status.ts';
import type { DirectoryCounts } from '../queue/directory.ts';
import { disconnectRedis, type RedisConnector, triedConnector } from '../queue/redis.ts';
import { createDirectory } from '../queue/redis-directory.ts';
import { readRedisFacts } from '../queue/redis-facts.ts';
import { troubleOf, watchRedis } from '../queue/redis-health.ts';
import { createLine } from '../queue/redis-line.ts';
import { createPace } from '../queue/redis-pace.ts';
import { createQuotaBuckets } from '../queue/redis-quota-buckets.ts';
import { createRunningParts } from '../queue/redis-running-parts.ts';
import type { SeenPart } from '../queue/running-parts.ts';
import { within } from '../runtime/deadline.ts';
import { errorText } from '../runtime/errors.ts';
import { remembered } from '../runtime/remembered.ts';
import type { Settings } from '../runtime/settings.ts';
import { cureOf, UpstreamRefused, UpstreamUnreachable } from '../runtime/upstream.ts';
import { productVersion } from '../runtime/version.ts';
import { gatewayIdIn } from '../site-tls/gateway-key.ts';
import type { App } from './app.ts';
import { connectTable, iotFor } from './aws.ts';
import { certificatesOf, diskAt } from './running-part.ts';
import { namedAws } from './which-aws.ts';

/** How long Redis and AWS may take, and how long an answer of AWS is good for. Milliseconds. */
const usualTimes = { redisMs: 3000, awsMs: 6000, awsEveryMs: 10_000, silentEveryMs: 60_000 };

export type StatusReader = {
  /** Never throws: what cannot be read is a check that says why. It takes 6 s at most. */
  read(): Promise<Status>;
  close(): Promise<void>;
};

/**
 * Reads how the gateway is, again and again, on connections of its own; what it opens is closed with the app, or by `close`.
 * @param redis undefined where there is none to ask
 */
export function openStatus(
  app: App,
  redis: RedisConnector | undefined,
  times: Partial<typeof usualTimes> = {},
): StatusReader {
  const { settings, awsTime } = app;
  const all = { ...usualTimes, ...times };
  const ofRedis = redis === undefined ? undefined : openRedisReader(app, redis);
  const ofAws = openAwsReader(app, all);
  const head = { version: productVersion(), site: settings.site };
  const close = async () => {
    await ofRedis?.close();
  };
  app.lifecycle.add({ name: 'status', close });
  return {
    async read() {
      const [seen, { silent, ...aws }] = await Promise.all([
        ofRedis?.read(all.redisMs) ?? withoutRedis(settings),
        ofAws(),
      ]);
      const devices = withSilent(seen.devices, silent);
      return judgeStatus({ ...seen, ...aws, devices, ...ofSettings(settings) }, { ...head, at: awsTime.now() });
    },
    close,
  };
}

const withSilent = (devices: OfRedis['devices'], silent: number | undefined): OfRedis['devices'] =>
  silent !== undefined && 'value' in devices && devices.value !== undefined
    ? { value: { ...devices.value, silent } }
    : devices;

const ofSettings = ({ sweep, tls }: Settings) => ({
  sweepEveryMs: sweep.intervalMs,
  ownCertificate: tls !== undefined,
});

type OfRedis = Pick<
  StatusFacts,
  'redis' | 'redisWhere' | 'line' | 'processes' | 'quotas' | 'devices' | 'certificates' | 'disks'
>;

function withoutRedis(settings: Settings): OfRedis {
  const problem = `REDIS_URL is not set, and no "cvm up" runs on the data folder ${settings.dataDir}`;
  return awayFrom(
    settings,
    'REDIS_URL',
    problem,
    'start the gateway ("cvm up"), or set REDIS_URL as the gateway has it',
  );
}

/** What is known although Redis is away: the files of this machine. */
function awayFrom(settings: Settings, redisWhere: string, problem: string, cure?: string): OfRedis {
  const away = { problem: 'not known while Redis is away' };
  return {
    redis: { problem, ...(cure === undefined ? {} : { cure }) },
    redisWhere,
    ...{ line: away, processes: away, quotas: away, devices: away },
    ...ofProcesses([], settings),
  };
}

function openRedisReader({ settings, log }: App, given: RedisConnector) {
  const { connector, tried } = triedConnector(given);
  const silent = log.child({}, { level: 'silent' });
  const redis = connector.connect('probe', silent);
  const health = watchRedis(connector, silent, settings.redisReplicas);
  const [line, pace] = [createLine(connector, silent), createPace(connector, silent)];
  const directory = createDirectory(connector, silent);
  const parts = createRunningParts(connector, silent);
  const buckets = createQuotaBuckets(connector, silent, settings.awsQuotas, quotaRule);

  async function readAll(): Promise<OfRedis> {
    await tried();
    const facts = await readRedisFacts(redis);
    const [seen, lineState, rates, counts] = await Promise.all([
      parts.list(),
      readLine(),
      buckets.rates(),
      directory.counts(),
    ]);
    const processes = { value: seen.map(processOf) };
    const { server, usedBytes, maxBytes, devices } = facts;
    const quotas = { value: quotasOf(settings, rates, seen) };
    return {
      redis: { value: { server, usedBytes, ...(maxBytes === undefined ? {} : { maxBytes }) } },
      redisWhere: connector.where,
      ...{
        line: { value: lineState },
        processes,
        quotas,
        devices: { value: countsOf(devices, counts) },
      },
      ...ofProcesses(seen, settings),
    };
  }

  async function readLine(): Promise<LineState> {
    const [{ view }, allowed] = await Promise.all([line.look([]), pace.readPace()]);
    const first = view.marks[0];
    const perSecond = paceOf(view, allowed);
    const oldestSeconds = first === undefined ? 0 : Math.max(0, Math.round(view.second - first / 1e6));
    return { length: view.length, oldestSeconds, ...(perSecond === undefined ? {} : { perSecond }) };
  }

  return {
    async read(ms: number): Promise<OfRedis> {
      try {
        const read = await within(ms, 'reading Redis', readAll());
        // it answers, and may take no writes
        const trouble = await within(ms, 'writing to Redis', health.look());
        return trouble === undefined ? read : { ...read, redis: trouble };
      } catch (error) {
        const trouble = await within(ms, 'Redis', health.look()).catch(() => undefined);
        const { problem, cure } = trouble ?? troubleOf(error, connector);
        return awayFrom(settings, connector.where, problem, cure);
      }
    },
    async close() {
      const open = [health, line, pace, parts, buckets, directory];
      await Promise.all([disconnectRedis(redis), ...open.map((each) => each.close())]);
    },
  };
}

/** @param onRoster how many the roster has, where the list of devices is not there yet */
function countsOf(onRoster: number, counts: DirectoryCounts | undefined): DeviceCounts {
  if (counts === undefined) return { total: onRoster };
  return { total: Object.values(counts).reduce((sum, number) => sum + number, 0), ...counts };
}

const iso = (ms: number) => new Date(ms).toISOString();

function processOf({ id, part, version, host, pid, site, since, seenAt, troubles }: SeenPart): ProcessState {
  const known = { id, part, version, host, pid, since: iso(since), seenAt: iso(seenAt), troubles };
  return site === undefined ? known : { ...known, site };
}

/** Certificates and disks: of this machine, and as the processes of others say. */
function ofProcesses(seen: readonly SeenPart[], settings: Settings): Pick<StatusFacts, 'certificates' | 'disks'> {
  const { machineName: here, dataDir } = settings;
  const certificates = new Map<string, CertificateState>();
  const disks = new Map<string, DiskState>();
  const note = (host: string, part: Pick<SeenPart, 'certificates' | 'disk'>) => {
    for (const { name, notAfter } of part.certificates)
      certificates.set(`${host} ${name} ${notAfter}`, { name, host, notAfter: iso(notAfter) });
    if (part.disk !== undefined) disks.set(`${host} ${part.disk.path}`, { host, ...part.disk });
  };
  note(here, { certificates: certificatesOf(settings), disk: diskAt(dataDir) });
  for (const part of seen) note(part.host, part);
  return { certificates: { value: [...certificates.values()] }, disks: { value: [...disks.values()] } };
}

function quotasOf(
  { awsQuotas }: Settings,
  rates: Readonly<Record<string, number>>,
  seen: readonly SeenPart[],
): QuotaState[] {
  const used = (name: string) => seen.reduce((sum, { calls }) => sum + (calls[name] ?? 0), 0);
  return Object.entries(awsQuotas).map(([name, limitPerSecond]) => ({
    name,
    usedPerSecond: Math.round(used(name) * 100) / 100,
    limitPerSecond,
    allowedPerSecond: Math.round((rates[name] ?? limitPerSecond) * 100) / 100,
  }));
}

type OfAws = Pick<StatusFacts, 'awsPlace' | 'aws' | 'table' | 'policy' | 'sweptAt'> & { readonly silent?: number };

/** Two calls, and a third now and then, whose answers are remembered for a while: a page that is open must not use up the account's quotas. */
function openAwsReader(app: App, { awsMs, awsEveryMs, silentEveryMs }: typeof usualTimes): () => Promise<OfAws> {
  const { settings } = app;
  const { account, region } = namedAws(settings);
  const awsPlace: AwsPlace = { account, region, table: settings.table, policy: settings.policyName };
  const { lease, silent, gateways } = connectTable(app, 'operator');
  const iot = iotFor(app, 'doctor');
  const inTime = <T>(name: string, work: Promise<T>) => within(awsMs, name, work);
  // a report may have a hundred kilobytes, and changes with each sweep
  const readSilent = remembered(() => inTime('dynamodb:GetItem', silent.read()), silentEveryMs);
  return remembered(async () => {
    const gateway = gatewayIdIn(settings.dataDir);
    const [swept, policy, report, known] = await Promise.allSettled([
      inTime('dynamodb:GetItem', lease.last()),
      inTime('iot:GetPolicy', iot.getPolicy(settings.policyName)),
      readSilent(),
      gateway === undefined ? [] : inTime('dynamodb:GetItem', gateways.known()),
    ]);
    const answers = [swept, policy].some((each) => each.status === 'fulfilled' || isAnswer(each.reason));
    const { reason } = [swept, policy].find((each) => each.status === 'rejected') ?? { reason: undefined };
    return {
      awsPlace,
      aws: answers ? { value: 'answers' } : ofError(reason),
      table:
        swept.status === 'fulfilled'
          ? ofApproval(gateway, known.status === 'fulfilled' ? known.value : undefined, settings.table)
          : ofCall(swept.reason, answers),
      policy:
        policy.status === 'fulfilled' ? { value: 'there' } : ofPolicy(policy.reason, answers, settings.policyName),
      sweptAt:
        swept.status === 'fulfilled'
          ? { value: swept.value === undefined ? undefined : iso(swept.value) }
          : { problem: 'not known while the table cannot be read' },
      ...(report.status === 'fulfilled' && report.value !== undefined ? { silent: report.value.count } : {}),
    };
  }, awsEveryMs);
}

/** @param known gateways of the table; undefined: they could not be read, which says nothing about the table */
function ofApproval(
  gateway: string | undefined,
  known: readonly { readonly id: string; readonly state: string }[] | undefined,
  table: string,
): Read<'there'> {
  if (gateway === undefined || known === undefined) return { value: 'there' };
  const state = known.find(({ id }) => id === gateway)?.state;
  if (state === 'approved') return { value: 'there' };
  const approve = `compare the id with "cvm tls show" at the gateway, and run "cvm tls approve ${gateway}"`;
  return {
    problem: `${table} has not approved this gateway (${gateway}): its devices get no certificate`,
    cure: state === undefined ? `restart the broker, which notes it in the table. Then ${approve}` : approve,
  };
}

/** Whatever AWS answered with, it answered. */
const isAnswer = (error: unknown): boolean => error instanceof UpstreamRefused && !isOfThisMachine(error);

/** Refused before a call was made: without a region, without credentials, by a proxy. */
const isOfThisMachine = ({ cause }: UpstreamRefused): boolean =>
  (cause as { $metadata?: unknown } | undefined)?.$metadata === undefined;

function ofError(error: unknown): { problem: string; cure?: string } {
  const cure = cureOf(error);
  const problem = errorText(error);
  return cure === undefined ? { problem } : { problem, cure };
}

function ofCall(error: unknown, awsAnswers: boolean): Read<never> {
  if (!awsAnswers) return { problem: 'not known while AWS does not answer' };
  const { problem, cure } = ofError(error);
  return { problem, cure: cure ?? 'try again; where it stays so, see the log of the worker' };
}

/** The identity of a gateway need not be allowed to read the policy. */
function ofPolicy(error: unknown, awsAnswers: boolean, name: string): Read<never> {
  const what = awsErrorName(error);
  if (what === 'ResourceNotFoundException')
    return {
      problem: `there is no IoT policy "${name}" in this region: no device can be vended a certificate`,
      cure: 'create it with "cvm aws setup", or correct CVM_POLICY_NAME',
    };
  if (error instanceof UpstreamRefused && isAnswer(error))
    return { problem: 'this identity may not read it (iot:GetPolicy), which only the check of it needs' };
  return ofCall(error, awsAnswers && !(error instanceof UpstreamUnreachable));
}

import { counted } from '../runtime/counted.ts';
import { cureAt, quoted } from './said-troubles.ts';
import {
  type CertificateState,
  type DiskState,
  type LineState,
  type ProcessState,
  type QuotaState,
  type Read,
  type RedisState,
  type Status,
  type StatusCheck,
  type StatusCheckId,
  type StatusFacts,
  statusCheckIds,
} from './status.ts';

type Head = { readonly at: number; readonly version: string; readonly site?: string | undefined };
type Judgement = Omit<StatusCheck, 'id' | 'title'>;

const known = <T>(read: Read<T>): T | undefined => ('value' in read ? read.value : undefined);
const unknown = (says: string, cure?: string): Judgement => ({
  state: 'unknown',
  says,
  ...(cure === undefined ? {} : { cure }),
});
const ok = (says: string): Judgement => ({ state: 'ok', says });
const warning = (says: string, cure: string): Judgement => ({ state: 'warning', says, cure });
const failed = (says: string, cure: string): Judgement => ({ state: 'failed', says, cure });

/** Judges what was read. It reads nothing itself. */
export function judgeStatus(facts: StatusFacts, { at, version, site }: Head): Status {
  const checks = statusCheckIds.map((id) => ({ id, title: titles[id], ...judges[id](facts, at) }));
  const line = known(facts.line);
  const processes = known(facts.processes);
  const [redis, devices] = [known(facts.redis), known(facts.devices)];
  const swept = known(facts.sweptAt);
  return {
    at: new Date(at).toISOString(),
    version,
    ...(site === undefined ? {} : { site }),
    ok: checks.every(({ state }) => state !== 'failed'),
    checks,
    ...(redis === undefined ? {} : { redis: { where: facts.redisWhere, ...redis } }),
    ...(line === undefined ? {} : { line: withEta(line) }),
    ...(processes === undefined
      ? {}
      : { workers: countOf(processes, 'worker'), brokers: countOf(processes, 'broker'), processes }),
    aws: facts.awsPlace,
    quotas: known(facts.quotas) ?? [],
    certificates: known(facts.certificates) ?? [],
    disks: known(facts.disks) ?? [],
    ...(swept === undefined ? {} : { sweep: { at: swept } }),
    ...(devices === undefined ? {} : { devices }),
  };
}

const countOf = (processes: readonly ProcessState[], part: ProcessState['part']): number =>
  processes.filter((each) => each.part === part).length;

/** When a request that comes now would be answered: after all that wait. */
function withEta(line: LineState): LineState & { etaSeconds?: number } {
  if (line.length === 0) return { ...line, etaSeconds: 0 };
  return line.perSecond === undefined ? line : { ...line, etaSeconds: Math.ceil(line.length / line.perSecond) };
}

const titles: Readonly<Record<StatusCheckId, string>> = {
  redis: 'Redis',
  brokers: 'brokers',
  workers: 'workers',
  line: 'line',
  aws: 'AWS',
  table: 'table',
  policy: 'IoT policy',
  'server-certificate': 'server certificate',
  'site-ca': 'site CA',
  disk: 'disk',
  quotas: 'quotas of AWS',
  sweep: 'last sweep',
};

const judges: Readonly<Record<StatusCheckId, (facts: StatusFacts, now: number) => Judgement>> = {
  redis: ({ redis, redisWhere }) =>
    'value' in redis
      ? ok(
          `${redis.value.server} at ${redisWhere}, ${bytes(redis.value.usedBytes)} of memory used${ofMost(redis.value)}`,
        )
      : failed(redis.problem, redis.cure ?? 'start Redis, or correct REDIS_URL'),
  brokers: (facts) => judgeProcesses(facts, 'broker'),
  workers: (facts) => judgeProcesses(facts, 'worker'),
  line: ({ line }) => ('value' in line ? judgeLine(withEta(line.value)) : unknown(line.problem, line.cure)),
  aws: ({ aws, awsPlace }) =>
    'value' in aws
      ? ok(`answers; account: ${awsPlace.account}; region: ${awsPlace.region}`)
      : failed(aws.problem, aws.cure ?? "check the network of this machine, its proxy, and AWS's status page"),
  table: ({ table, awsPlace }) => judgeOfAws(table, `${awsPlace.table} can be read`),
  policy: ({ policy, awsPlace }) => judgeOfAws(policy, `${awsPlace.policy} is there`),
  'server-certificate': (facts, now) => judgeCertificate(facts, 'server', now),
  'site-ca': (facts, now) => judgeCertificate(facts, 'site CA', now),
  disk: ({ disks }) => ('value' in disks ? judgeDisks(disks.value) : unknown(disks.problem, disks.cure)),
  quotas: ({ quotas }) => ('value' in quotas ? judgeQuotas(quotas.value) : unknown(quotas.problem, quotas.cure)),
  sweep: ({ sweptAt, sweepEveryMs, processes }, now) =>
    'value' in sweptAt
      ? judgeSweep(sweptAt.value, sweepEveryMs, now, known(processes))
      : unknown(sweptAt.problem, sweptAt.cure),
};

const ofMost = ({ maxBytes }: RedisState) => (maxBytes === undefined ? '' : ` of ${bytes(maxBytes)}`);

/** Without a cure, it could only not be looked at. */
function judgeOfAws(read: Read<unknown>, says: string): Judgement {
  if ('value' in read) return ok(says);
  return read.cure === undefined ? unknown(read.problem) : failed(read.problem, read.cure);
}

function judgeProcesses({ processes }: StatusFacts, part: 'broker' | 'worker'): Judgement {
  if (!('value' in processes)) return unknown(processes.problem, processes.cure);
  const own = processes.value.filter((each) => each.part === part);
  const troubled = own.find(({ troubles }) => troubles.length > 0);
  if (own.length === 0)
    return failed(
      part === 'broker'
        ? 'no broker runs: no device can connect'
        : 'no worker runs: requests are stored, and are not answered',
      `start it ("cvm ${part}", or "cvm up"; in compose "docker compose up --detach"), and look at its log`,
    );
  const running = `${counted(own.length, 'process', 'processes')} on ${[...new Set(own.map(({ host }) => host))].join(', ')}`;
  if (troubled !== undefined) {
    const { host, troubles } = troubled;
    const more = troubles.length === 1 ? '' : ` (and ${troubles.length - 1} more)`;
    return failed(
      `${running}; that on ${host} says that it cannot do its work: ${quoted(troubles)}${more}`,
      cureAt(host),
    );
  }
  const versions = [...new Set(own.map(({ version }) => version))];
  return versions.length > 1
    ? warning(
        `${running}, of the versions ${versions.join(' and ')}`,
        'bring all processes of a site to the same version',
      )
    : ok(running);
}

/** From this wait on, the line is a warning. Seconds. */
const longWaitSeconds = 900;

function judgeLine({ length, oldestSeconds, perSecond, etaSeconds }: LineState & { etaSeconds?: number }): Judgement {
  if (length === 0) return ok('empty');
  const waiting = `${counted(length, 'request')} wait${length === 1 ? 's' : ''}, the first for ${duration(oldestSeconds)}`;
  if (perSecond === undefined || etaSeconds === undefined)
    return failed(
      `${waiting}, and none is being answered`,
      'see the checks of the workers and of AWS: one of them cannot go on. What waits is kept, and answered later',
    );
  const says = `${waiting}; ${rate(perSecond)} a second are answered, so a new one waits for about ${duration(etaSeconds)}`;
  return etaSeconds > longWaitSeconds
    ? warning(
        says,
        'nothing is lost. The quotas of the AWS account set the pace: docs/quotas.md says how to raise them',
      )
    : ok(says);
}

/** Days before the end at which a person is told. The gateway renews the server certificate by itself long before. */
const warnDays = { server: 14, 'site CA': 90 } as const;
const dayMs = 86_400_000;

function judgeCertificate(
  { certificates, ownCertificate }: StatusFacts,
  name: CertificateState['name'],
  now: number,
): Judgement {
  if (!('value' in certificates)) return unknown(certificates.problem, certificates.cure);
  const own = certificates.value.filter((each) => each.name === name);
  const first = own.sort((a, b) => Date.parse(a.notAfter) - Date.parse(b.notAfter))[0];
  if (first === undefined)
    return name === 'site CA' && ownCertificate
      ? ok('none: the server certificate is your own')
      : unknown('no broker has said yet which it uses');
  const days = Math.floor((Date.parse(first.notAfter) - now) / dayMs);
  const says = `of ${first.host}: valid until ${first.notAfter.slice(0, 10)} (${counted(days, 'day')})`;
  if (days < 0)
    return failed(
      `of ${first.host}: ended on ${first.notAfter.slice(0, 10)}; devices refuse the broker`,
      cureOfEnd(name, ownCertificate),
    );
  return days < warnDays[name] ? warning(says, cureOfEnd(name, ownCertificate)) : ok(says);
}

function cureOfEnd(name: CertificateState['name'], own: boolean): string {
  if (name === 'site CA') return 'replace it while the devices still trust it: "cvm tls rotate-ca", docs/operations.md';
  return own
    ? 'put a newer certificate into the files of CVM_TLS_CERT and CVM_TLS_KEY; a running broker uses it within a minute'
    : 'the broker renews it by itself, and could not: see its log, and run "cvm tls renew"';
}

/** Free space: below the first, writes will soon fail; below the second, a person should look. Bytes, and the part of the whole. */
const [least, little] = [
  { bytes: 100e6, part: 0.01 },
  { bytes: 1e9, part: 0.05 },
];

function judgeDisks(disks: readonly DiskState[]): Judgement {
  const below = ({ freeBytes, totalBytes }: DiskState, limit: typeof least) =>
    freeBytes < limit.bytes || freeBytes < totalBytes * limit.part;
  const fullest = [...disks].sort((a, b) => a.freeBytes - b.freeBytes)[0];
  if (fullest === undefined) return unknown('no process has said how much is free');
  const says = `${bytes(fullest.freeBytes)} free of ${bytes(fullest.totalBytes)} at ${fullest.path} on ${fullest.host}`;
  const cure = 'free space there: a full disk stops Redis, the audit trail and the renewal of certificates';
  if (disks.some((disk) => below(disk, least))) return failed(says, cure);
  return disks.some((disk) => below(disk, little)) ? warning(says, cure) : ok(says);
}

function judgeQuotas(quotas: readonly QuotaState[]): Judgement {
  if (quotas.length === 0) return ok('no limits are set (CVM_QUOTAS)');
  const slowed = quotas.filter(({ allowedPerSecond, limitPerSecond }) => allowedPerSecond < limitPerSecond * 0.9);
  const [first] = slowed;
  if (first !== undefined)
    return warning(
      `AWS throttled ${first.name}: ${rate(first.allowedPerSecond)} calls a second are made at most, of ${rate(first.limitPerSecond)}`,
      'others use the same AWS account, or its quota is lower than CVM_QUOTAS says: compare it with Service Quotas. The gateway becomes faster again by itself',
    );
  const busiest = [...quotas].sort(
    (a, b) => b.usedPerSecond / b.limitPerSecond - a.usedPerSecond / a.limitPerSecond,
  )[0];
  return ok(
    busiest === undefined || busiest.usedPerSecond === 0
      ? 'none is used at present'
      : `${busiest.name} is used most: ${rate(busiest.usedPerSecond)} of ${rate(busiest.limitPerSecond)} calls a second`,
  );
}

/** A sweep may be late: a worker that was busy or away for one turn is no trouble. */
const sweepTurns = 3;

function judgeSweep(
  sweptAt: string | undefined,
  everyMs: number,
  now: number,
  processes: readonly ProcessState[] | undefined,
): Judgement {
  const cure = 'a worker sweeps by itself: see its log, and run "cvm sweep"';
  if (sweptAt === undefined) {
    if (processes === undefined) return unknown('there was none yet, and whether a worker runs is not known');
    const workers = processes.filter(({ part }) => part === 'worker');
    const isNew = workers.length > 0 && workers.every(({ since }) => now - Date.parse(since) < everyMs * 2);
    return isNew ? ok('none yet: the first one comes by itself') : warning('there was none yet', cure);
  }
  const ageMs = now - Date.parse(sweptAt);
  const says = `${duration(ageMs / 1000)} ago`;
  return ageMs > everyMs * sweepTurns ? warning(says, cure) : ok(says);
}

/** `2.3 GB`, for people. */
export function bytes(count: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [value, unit] = [count, 0];
  for (; value >= 1000 && unit < units.length - 1; unit++) value /= 1000;
  return `${value >= 10 || unit === 0 ? Math.round(value) : value.toFixed(1)} ${units[unit]}`;
}

/** `40 s`, `12 min`, `3 h`, `2 days`, for people. */
export function duration(seconds: number): string {
  if (seconds < 100) return `${Math.max(0, Math.round(seconds))} s`;
  if (seconds < 100 * 60) return `${Math.round(seconds / 60)} min`;
  return seconds < 48 * 3600 ? `${Math.round(seconds / 3600)} h` : `${Math.round(seconds / 86_400)} days`;
}

const rate = (perSecond: number) => (perSecond >= 10 ? Math.round(perSecond) : Math.round(perSecond * 10) / 10);

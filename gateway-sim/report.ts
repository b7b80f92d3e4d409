import { counted } from '../runtime/counted.ts';
import type { Outcome, Seen } from './outcome.ts';
import type { Moment } from './series.ts';
import type { Cost, Simulated } from './simulate.ts';

export type Percentiles = { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };

/** Times in milliseconds, rates in accepted devices a second. `--json` prints it, `--html` draws it, `compare` reads it. */
export type Report = {
  readonly devices: number;
  readonly accepted: number;
  /** by errorCode */
  readonly rejected: Readonly<Record<string, number>>;
  /** by reason */
  readonly wrong: Readonly<Record<string, number>>;
  readonly timedOut: number;
  /** why the last attempt of a device that timed out failed, by reason */
  readonly timedOutReasons: Readonly<Record<string, number>>;
  readonly attempts: number;
  /** from the first request to the accepted answer; missing where no device was accepted */
  readonly latencyMs?: Percentiles;
  readonly wallMs: number;
  readonly perSecond: number;
} & Partial<Details>;

/** By what a reader knows which run it was, months later. */
export type Run = {
  readonly scenario: string;
  /** what the devices are, as `2 csr, 1 ec psk`: two runs of one scenario may have other devices */
  readonly kinds: string;
  /** of the gateway: host and port */
  readonly target: string;
  /** ISO 8601, UTC */
  readonly startedAt: string;
  /** of the simulator */
  readonly version: string;
};

/** What a run knows beyond its outcomes. */
export type Details = Run & {
  readonly seed: number;
  /** devices that had not ended when the run was interrupted; missing where all ended. They count nowhere else */
  readonly unended: number;
  /** attempts that failed, also of devices that were served by a later one, by reason; missing where none failed */
  readonly failedAttempts: Readonly<Record<string, number>>;
  /** devices that ended as the scenario wants: a wrong token must be refused */
  readonly asExpected: number;
  /** shares from 0 to 1: connected, and served, at the first try */
  readonly firstTry: { readonly connected: number; readonly served: number };
  /** from the first byte that a device sent to CONNACK */
  readonly connackMs: Percentiles;
  /** how much later than planned devices began; missing where none was late by a second. No other figure has this time in it */
  readonly lateMs: Percentiles;
  /** accepted devices a second between the first and the last of them */
  readonly drainPerSecond: number;
  /** the limit that the run is compared with, in certificates a second */
  readonly quotaPerSecond: number;
  readonly pending: PendingReport;
  /** how often a spent token was refused, by errorCode */
  readonly replaysRefused: Readonly<Record<string, number>>;
  readonly simulator: SimulatorCost;
  readonly gateway: { readonly cpuMs: number; readonly cpuMsPerDevice: number; readonly rssBytesPeak: number };
  readonly latencyHistogram: readonly Bin[];
  readonly moments: readonly Moment[];
};

/** How honest the first `pending` was: `medianError` is the median of |told − waited| / waited. */
export type PendingReport = {
  /** devices that were told `etaSeconds` */
  readonly told: number;
  readonly medianError?: number;
  /** some of them: seconds told, seconds waited */
  readonly etas: readonly (readonly [told: number, waited: number])[];
};

/** The simulator's own cost, which is no cost of the gateway's. `beyondTls` is known where bare TLS connections were measured beside it. */
export type SimulatorCost = {
  readonly cpuMs: number;
  readonly rssBytes: number;
  readonly connections: number;
  readonly openAtPeak: number;
  readonly perDevice: { readonly cpuMs: number; readonly rssBytes: number };
  readonly tls?: TlsCost;
  readonly beyondTls?: { readonly cpuMs: number; readonly rssBytes: number };
};

/** What one bare TLS connection costs the side that connects. */
export type TlsCost = { readonly cpuMs: number; readonly rssBytes: number; readonly connections: number };

export type Bin = { readonly fromMs: number; readonly toMs: number; readonly count: number };

export function report(outcomes: readonly Outcome[], wallMs: number): Report {
  const latencies = latenciesOf(outcomes);
  return {
    devices: outcomes.length,
    accepted: latencies.length,
    rejected: tally(outcomes.flatMap((outcome) => (outcome.kind === 'rejected' ? [outcome.errorCode] : []))),
    wrong: tally(outcomes.flatMap((outcome) => (outcome.kind === 'wrong' ? [outcome.reason] : []))),
    timedOut: outcomes.filter((outcome) => outcome.kind === 'timedOut').length,
    timedOutReasons: tally(outcomes.flatMap((outcome) => (outcome.kind === 'timedOut' ? [outcome.reason] : []))),
    attempts: outcomes.reduce((sum, outcome) => sum + outcome.attempts, 0),
    ...(latencies.length === 0 ? {} : { latencyMs: percentiles(latencies) }),
    wallMs: Math.round(wallMs),
    perSecond: Number((latencies.length / Math.max(wallMs / 1000, 0.001)).toFixed(1)),
  };
}

/** The same with all that the run knows. */
export function fullReport(
  { outcomes, wallMs, moments, drain, cost, lateMs, failedAttempts }: Simulated,
  given: Partial<Run> & {
    scenario: string;
    seed: number;
    quotaPerSecond?: number | undefined;
    tls?: TlsCost | undefined;
    /** of the run; more than its outcomes where it was interrupted */
    devices?: number | undefined;
  },
): Report {
  const basic = report(outcomes, wallMs);
  const seen = outcomes.flatMap((outcome) => outcome.seen ?? []);
  const connacks = ascending(seen.flatMap(({ connackMs }) => connackMs ?? []));
  const share = (count: number) => Number((count / Math.max(1, outcomes.length)).toFixed(4));
  const { devices = outcomes.length, tls, quotaPerSecond, ...run } = given;
  const unended = devices - outcomes.length;
  return {
    ...basic,
    ...run,
    ...(unended > 0 ? { unended } : {}),
    ...(Object.keys(failedAttempts).length > 0 ? { failedAttempts } : {}),
    asExpected: seen.filter(({ expected }) => expected).length,
    firstTry: {
      connected: share(seen.filter(({ connectedAtFirst }) => connectedAtFirst).length),
      served: share(outcomes.filter(({ kind, attempts }) => kind === 'accepted' && attempts === 1).length),
    },
    ...(connacks.length === 0 ? {} : { connackMs: percentiles(connacks) }),
    ...lateness(lateMs),
    ...drainRate(basic.accepted, drain),
    ...(quotaPerSecond === undefined ? {} : { quotaPerSecond }),
    pending: pendingReport(seen),
    replaysRefused: tally(seen.flatMap(({ replayRefused }) => replayRefused ?? [])),
    simulator: simulatorCost(cost, outcomes.length, tls),
    ...gatewayCost(moments, basic.accepted),
    latencyHistogram: histogram(latenciesOf(outcomes)),
    moments,
  };
}

/** A shorter time tells nothing of a rate: three answers that came together would make thousands a second. */
const shortestDrainMs = 100;

/** Devices a second, without the time before the first and after the last. */
function drainRate(accepted: number, drain: Simulated['drain']): { drainPerSecond?: number } {
  if (drain === undefined || drain.lastMs - drain.firstMs < shortestDrainMs) return {};
  return { drainPerSecond: rounded(((accepted - 1) / (drain.lastMs - drain.firstMs)) * 1000, 2) };
}

const mostEtas = 400;

function pendingReport(seen: readonly Seen[]): PendingReport {
  const all = seen.flatMap(({ told }) => (told === undefined ? [] : [told]));
  const errors = ascending(
    all.map(({ etaSeconds, waitedMs }) => Math.abs(etaSeconds * 1000 - waitedMs) / Math.max(waitedMs, 1)),
  );
  const step = Math.max(1, Math.ceil(all.length / mostEtas));
  const some = all.filter((_each, index) => index % step === 0);
  return {
    told: all.length,
    ...(errors.length === 0 ? {} : { medianError: rounded(percentile(errors, 0.5), 3) }),
    etas: some.map(({ etaSeconds, waitedMs }) => [etaSeconds, rounded(waitedMs / 1000, 2)] as const),
  };
}

function simulatorCost(cost: Cost, devices: number, tls: TlsCost | undefined): SimulatorCost {
  const { connections, openAtPeak } = cost;
  const cpuMs = cost.cpuMs / Math.max(1, devices);
  const rssBytes = cost.rssBytesAtPeak / Math.max(1, openAtPeak);
  const known = {
    cpuMs: Math.round(cost.cpuMs),
    rssBytes: cost.rssBytesAtPeak,
    ...{ connections, openAtPeak },
    perDevice: { cpuMs: rounded(cpuMs, 3), rssBytes: Math.round(rssBytes) },
  };
  if (tls === undefined) return known;
  const beyondTls = {
    cpuMs: rounded(cpuMs - (tls.cpuMs * connections) / Math.max(1, devices), 3),
    // devices take memory whether they are connected or not
    rssBytes: Math.round((cost.rssBytesAtPeak - tls.rssBytes * openAtPeak) / Math.max(1, devices)),
  };
  return { ...known, tls, beyondTls };
}

function gatewayCost(moments: readonly Moment[], accepted: number): Pick<Report, 'gateway'> {
  const cpuMs = moments.at(-1)?.gatewayCpuMs;
  if (cpuMs === undefined) return {};
  const rssBytesPeak = Math.max(...moments.map(({ gatewayRssBytes = 0 }) => gatewayRssBytes));
  return { gateway: { cpuMs, cpuMsPerDevice: rounded(cpuMs / Math.max(1, accepted), 2), rssBytesPeak } };
}

const bins = 24;

/** The lengths of the bins grow, since latencies spread over powers of ten. */
function histogram(sorted: readonly number[]): Bin[] {
  const [least, most] = [Math.max(1, sorted[0] ?? 1), Math.max(2, sorted.at(-1) ?? 2)];
  const ratio = (most / least) ** (1 / bins);
  let at = 0;
  return Array.from({ length: sorted.length === 0 ? 0 : bins }, (_, bin) => {
    const [fromMs, toMs] = [least * ratio ** bin, bin === bins - 1 ? most : least * ratio ** (bin + 1)];
    const start = at;
    while (at < sorted.length && ((sorted[at] as number) <= toMs || bin === bins - 1)) at++;
    return { fromMs: rounded(fromMs, 1), toMs: rounded(toMs, 1), count: at - start };
  });
}

function latenciesOf(outcomes: readonly Outcome[]): number[] {
  return ascending(outcomes.flatMap((outcome) => (outcome.kind === 'accepted' ? [outcome.latencyMs] : [])));
}

/** Less than this is the simulator's turn, or a moment in which it was busy. Milliseconds. */
const muchLate = 1000;

/** Devices that wait for a place are not seen in the other times: a slow gateway would look quick, since it holds up the load itself. */
function lateness(lateMs: readonly number[]): Partial<Report> {
  const late = ascending([...lateMs]);
  return (late.at(-1) ?? 0) < muchLate ? {} : { lateMs: percentiles(late) };
}

const ascending = (values: number[]): number[] => values.sort((a, b) => a - b);

const rounded = (value: number, digits: number): number => Number(value.toFixed(digits));

function percentiles(sorted: readonly number[]): Percentiles {
  const at = (share: number) => Math.round(percentile(sorted, share));
  return { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) };
}

/** The nearest-rank percentile: the smallest value that at least `share` of the values do not exceed; 0 without values. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** How devices ended: a name and a count for each way. */
export function endings(result: Report): [name: string, count: number][] {
  const named = (kind: string, counts: Readonly<Record<string, number>>) =>
    Object.entries(counts).map(([reason, count]): [string, number] => [`${kind}, ${reason}`, count]);
  return [
    ['accepted', result.accepted],
    ...named('rejected', result.rejected),
    ...named('wrong', result.wrong),
    ...named('timed out', result.timedOutReasons),
    ...named('spent token refused', result.replaysRefused ?? {}),
    ...(result.unended === undefined ? [] : [['interrupted before its end', result.unended] as [string, number]]),
  ];
}

/** The report as text. */
export function summary(result: Report): string {
  const title = `${counted(result.devices, 'device')} in ${(result.wallMs / 1000).toFixed(1)} s, ${result.perSecond} certificates a second`;
  return [
    title,
    ...[...endings(result), ['attempts', result.attempts] as const, ...failures(result)].map(
      ([name, count]) => `  ${String(name).padEnd(28)}${String(count).padStart(8)}`,
    ),
    ...facts(result).map(([name, text]) => `  ${name.padEnd(28)}${text}`),
  ].join('\n');
}

const mostFailures = 5;

/** The most frequent reasons that attempts failed: a device that was served at its third has two. */
function failures({ failedAttempts = {} }: Report): [name: string, count: number][] {
  const sorted = Object.entries(failedAttempts).sort(([, a], [, b]) => b - a);
  return sorted.slice(0, mostFailures).map(([reason, count]) => [`attempt failed, ${reason}`, count]);
}

/** What else there is to say, a name and a text each; only what is known. */
export function facts(result: Report): [name: string, text: string][] {
  const { latencyMs, connackMs, lateMs, firstTry, drainPerSecond, quotaPerSecond, pending, simulator, gateway } =
    result;
  const all: [string, string | undefined | false][] = [
    ['from request to answer', latencyMs && percentilesText(latencyMs)],
    ['from first byte to CONNACK', connackMs && percentilesText(connackMs)],
    ['began later than planned', lateMs && `${percentilesText(lateMs)}, which is in no other time`],
    ['at the first try', firstTry && `${percent(firstTry.connected)} connected, ${percent(firstTry.served)} served`],
    ['drained', drainPerSecond !== undefined && `${drainPerSecond}/s${ofQuota(drainPerSecond, quotaPerSecond)}`],
    ['told their place', pending && pending.told > 0 && `${counted(pending.told, 'device')}${etaText(pending)}`],
    ["simulator's own CPU", simulator && simulatorText(simulator)],
    [
      "gateway's CPU and memory",
      gateway && `${gateway.cpuMsPerDevice} ms a device accepted, ${megabytes(gateway.rssBytesPeak)} at most`,
    ],
  ];
  return all.flatMap(([name, text]) => (text ? [[name, text] as [string, string]] : []));
}

function percentilesText({ p50, p95, p99, max }: Percentiles): string {
  return `p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, longest ${max} ms`;
}

function ofQuota(perSecond: number, quota: number | undefined): string {
  return quota === undefined ? '' : `, ${percent(perSecond / quota)} of the quota of ${quota}/s`;
}

function etaText({ medianError }: PendingReport): string {
  return medianError === undefined ? '' : `, half of them within ${percent(medianError)} of the real wait`;
}

/** Fewer connections than this tell nothing of the memory of one. */
const fewConnections = 100;

function simulatorText({ perDevice, beyondTls, openAtPeak }: SimulatorCost): string {
  if (openAtPeak < fewConnections) return `${perDevice.cpuMs} ms a device`;
  const beyond =
    beyondTls === undefined
      ? ''
      : `; beyond TLS ${beyondTls.cpuMs} ms and ${(beyondTls.rssBytes / 1024).toFixed(1)} KB a device`;
  return `${perDevice.cpuMs} ms a device, ${(perDevice.rssBytes / 1024).toFixed(0)} KB a connection (${openAtPeak} at once)${beyond}`;
}

export const percent = (share: number): string => `${(share * 100).toFixed(1)} %`;

export const megabytes = (bytes: number): string => `${(bytes / 1024 / 1024).toFixed(0)} MB`;

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

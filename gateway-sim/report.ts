import { counted } from '../runtime/counted.ts';
import type { Outcome } from './device.ts';

/** Times in milliseconds, rate in accepted devices a second. */
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
  /** missing where no device was accepted */
  readonly latencyMs?: { readonly p50: number; readonly p95: number; readonly p99: number; readonly max: number };
  readonly wallMs: number;
  readonly perSecond: number;
};

export function report(outcomes: readonly Outcome[], wallMs: number): Report {
  const latencies = outcomes
    .flatMap((outcome) => (outcome.kind === 'accepted' ? [outcome.latencyMs] : []))
    .sort((a, b) => a - b);
  const at = (share: number) => Math.round(percentile(latencies, share));
  return {
    devices: outcomes.length,
    accepted: latencies.length,
    rejected: tally(outcomes.flatMap((outcome) => (outcome.kind === 'rejected' ? [outcome.errorCode] : []))),
    wrong: tally(outcomes.flatMap((outcome) => (outcome.kind === 'wrong' ? [outcome.reason] : []))),
    timedOut: outcomes.filter((outcome) => outcome.kind === 'timedOut').length,
    timedOutReasons: tally(outcomes.flatMap((outcome) => (outcome.kind === 'timedOut' ? [outcome.reason] : []))),
    attempts: outcomes.reduce((sum, outcome) => sum + outcome.attempts, 0),
    ...(latencies.length === 0 ? {} : { latencyMs: { p50: at(0.5), p95: at(0.95), p99: at(0.99), max: at(1) } }),
    wallMs: Math.round(wallMs),
    perSecond: Number((latencies.length / Math.max(wallMs / 1000, 0.001)).toFixed(1)),
  };
}

/** The nearest-rank percentile: the smallest value that at least `share` of the values do not exceed; 0 without values. */
export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
}

/** The report as text. */
export function summary(result: Report): string {
  const counts = [
    ['accepted', result.accepted],
    ...Object.entries(result.rejected).map(([code, count]) => [`rejected, ${code}`, count]),
    ...Object.entries(result.wrong).map(([reason, count]) => [`wrong, ${reason}`, count]),
    ...Object.entries(result.timedOutReasons).map(([reason, count]) => [`timed out, ${reason}`, count]),
  ];
  const { latencyMs } = result;
  return [
    `${counted(result.devices, 'device')} in ${(result.wallMs / 1000).toFixed(1)} s, ${result.perSecond} certificates a second`,
    ...counts
      .filter(([name, count]) => count !== 0 || name === 'accepted')
      .map(([name, count]) => `  ${String(name).padEnd(28)}${String(count).padStart(8)}`),
    `  attempts                    ${String(result.attempts).padStart(8)}`,
    ...(latencyMs === undefined ? [] : [latencyLine(latencyMs)]),
  ].join('\n');
}

function latencyLine({ p50, p95, p99, max }: NonNullable<Report['latencyMs']>): string {
  return `  from request to answer      p50 ${p50} ms, p95 ${p95} ms, p99 ${p99} ms, longest ${max} ms`;
}

function tally(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of names) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}

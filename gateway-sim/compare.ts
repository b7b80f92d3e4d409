import { z } from 'zod';
import { counted } from '../runtime/counted.ts';

const percentiles = z.object({ p50: z.number(), p95: z.number(), p99: z.number() });

/** What is compared of a report; the rest may be what it likes. */
const comparable = z.object({
  scenario: z.string().optional(),
  kinds: z.string().optional(),
  asExpected: z.number().optional(),
  unended: z.number().optional(),
  devices: z.number(),
  accepted: z.number(),
  perSecond: z.number(),
  attempts: z.number(),
  latencyMs: percentiles.optional(),
  connackMs: percentiles.optional(),
  drainPerSecond: z.number().optional(),
  firstTry: z.object({ connected: z.number(), served: z.number() }).optional(),
  pending: z.object({ medianError: z.number().optional() }).optional(),
  gateway: z.object({ cpuMsPerDevice: z.number(), rssBytesPeak: z.number() }).optional(),
});

export type Comparable = z.output<typeof comparable>;

/** @throws ZodError when it is no report of the simulator */
export const readComparable = (value: unknown): Comparable => comparable.parse(value);

export type Row = {
  readonly name: string;
  readonly before: number;
  readonly after: number;
  /** after / before; undefined where before is 0 */
  readonly ratio: number | undefined;
  readonly worse: boolean;
};

type Measure = readonly [name: string, better: 'more' | 'less', of: (report: Comparable) => number | undefined];

const measures: readonly Measure[] = [
  // first, since a wrong token that was accepted makes the next row look better
  [
    'ended as it should, share',
    'more',
    ({ asExpected, devices }) => (asExpected === undefined ? undefined : asExpected / Math.max(1, devices)),
  ],
  ['accepted, share of devices', 'more', ({ accepted, devices }) => accepted / Math.max(1, devices)],
  ['certificates a second', 'more', ({ perSecond }) => perSecond],
  ['drained, a second', 'more', ({ drainPerSecond }) => drainPerSecond],
  ['attempts a device', 'less', ({ attempts, devices }) => attempts / Math.max(1, devices)],
  ['connected at the first try', 'more', ({ firstTry }) => firstTry?.connected],
  ['request to answer, p50 ms', 'less', ({ latencyMs }) => latencyMs?.p50],
  ['request to answer, p95 ms', 'less', ({ latencyMs }) => latencyMs?.p95],
  ['request to answer, p99 ms', 'less', ({ latencyMs }) => latencyMs?.p99],
  ['first byte to CONNACK, p50 ms', 'less', ({ connackMs }) => connackMs?.p50],
  ['first byte to CONNACK, p99 ms', 'less', ({ connackMs }) => connackMs?.p99],
  ['error of the ETA, median', 'less', ({ pending }) => pending?.medianError],
  ['gateway CPU, ms a device', 'less', ({ gateway }) => gateway?.cpuMsPerDevice],
  ['gateway memory, bytes', 'less', ({ gateway }) => gateway?.rssBytesPeak],
];

/** What both reports measured. @param tolerance a measure is worse when it is worse by more than this share */
export function compare(before: Comparable, after: Comparable, tolerance: number): Row[] {
  return measures.flatMap(([name, better, of]) => {
    const [from, to] = [of(before), of(after)];
    if (from === undefined || to === undefined) return [];
    const worse = better === 'more' ? to < from * (1 - tolerance) : to > from * (1 + tolerance);
    return [{ name, before: from, after: to, ratio: from === 0 ? undefined : to / from, worse }];
  });
}

/** Why the two reports say less about the gateway than their rows seem to; undefined where the runs are alike. */
export function unlikeness(before: Comparable, after: Comparable): string | undefined {
  const interrupted = [before, after].some(({ unended = 0 }) => unended > 0);
  // a report of before 0.2 does not say what its devices are
  const known = before.kinds !== undefined && after.kinds !== undefined;
  const run = ({ scenario, kinds, devices, unended = 0 }: Comparable) =>
    `${scenario === undefined || scenario === 'none' ? 'no scenario' : scenario}, ${counted(devices + unended, 'device')}${known ? ` (${kinds})` : ''}${unended > 0 ? `, interrupted when ${devices} had ended` : ''}`;
  return interrupted || run(before) !== run(after) ? `${run(before)} / ${run(after)}` : undefined;
}

/** The rows as text. */
export function comparisonTable(rows: readonly Row[]): string {
  const number = (value: number) => (Number.isInteger(value) ? String(value) : value.toFixed(3));
  const lines = rows.map(({ name, before, after, ratio, worse }) =>
    line(name, number(before), number(after), ratio === undefined ? '–' : `${ratio.toFixed(2)}`, worse ? 'worse' : ''),
  );
  return [line('', 'before', 'after', 'ratio', ''), ...lines].join('\n');
}

function line(name: string, before: string, after: string, ratio: string, verdict: string): string {
  return `${name.padEnd(32)}${before.padStart(14)}${after.padStart(14)}${ratio.padStart(8)}  ${verdict}`.trimEnd();
}

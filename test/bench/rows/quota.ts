import { setTimeout as sleep } from 'node:timers/promises';
import type { Figure } from '../../chaos/figures.ts';
import type { Flow } from '../gateway.ts';
import { type Drawing, type Row, type RowContext, rounded } from '../row.ts';
import type { AwsAccount, AwsCalls, SimReport } from '../site.ts';

/** The default quota of the scarcest call of every flow, in calls a second. */
const scarcest = { operation: 'UpdateCertificate', perSecond: 10 } as const;

const devices = 600;
const awsMs = 60;
const sampleMs = 250;

/** How many devices had their certificate after so many seconds. */
type Progress = readonly (readonly [number, number])[];

type Drained = { readonly progress: Progress; readonly seconds: number; readonly calls: AwsCalls };

/** One row for each way to make the key: all devices ask at once. */
export const quotaRows: readonly Row[] = (['rsa', 'ec', 'csr'] satisfies Flow[]).map((flow) => ({
  name: `quota-${flow}`,
  title: `${devices} devices at once, default quotas, ${awsMs} ms a call, flow ${flow}`,
  minutes: flow === 'rsa' ? 3 : 2,
  run: (context) => measureQuota(flow, context),
}));

async function measureQuota(flow: Flow, { sites, say }: RowContext) {
  const aws = await sites.startAws({ quotas: 'default', keyPool: flow === 'rsa' ? devices : 0 });
  const gateway = await sites.startGateway(aws);
  const credentials = await gateway.enrol(devices);
  await aws.setLatency(awsMs);
  say(`${flow}: ${devices} devices ask`);
  const argv = ['--credentials', credentials, '--flow', flow, '--concurrency', String(devices)];
  const [drained, report] = await drain(aws, () => gateway.simulate(argv));
  await gateway.close();
  say(callsText(drained.calls));
  const share = efficiency(drained, devices);
  const throttled = throttledShare(drained.calls);
  const refused = Object.values(report.rejected).reduce((sum, count) => sum + count, 0) + report.timedOut;
  return {
    figures: [
      {
        name: `quota efficiency, ${flow}`,
        value: rounded(share * 100, 1),
        unit: '% of the quota',
        goal: '≥ 97 %',
        holds: share >= 0.97,
      },
      {
        name: `throttled answers, ${flow}`,
        value: rounded(throttled * 100),
        unit: '%',
        goal: '≤ 1 %',
        holds: throttled <= 0.01,
      },
      { name: `devices without a certificate, ${flow}`, value: refused, goal: '0', holds: refused === 0 },
      ...toldFigures(report, flow),
    ],
    drawings: [drainCurve(`Drain of ${devices} devices, ${flow}`, drained)],
  };
}

/** A device that waits for less is told nothing, milliseconds: two seconds, and the moment in which it may be told. */
const mustBeToldAfterMs = 3000;

/** Whether each device that had to wait was told its place, and whether the time that it was told was right. */
export function toldFigures({ pending, latencyHistogram = [] }: SimReport, about: string): Figure[] {
  const waited = latencyHistogram.filter(({ fromMs }) => fromMs >= mustBeToldAfterMs);
  const mustKnow = waited.reduce((sum, { count }) => sum + count, 0);
  const { told = 0, medianError = 1 } = pending ?? {};
  return [
    {
      name: `devices told their place, ${about}`,
      value: told,
      goal: `≥ ${mustKnow} that waited`,
      holds: told >= mustKnow,
    },
    {
      name: `median error of the time told, ${about}`,
      value: rounded(medianError * 100, 1),
      unit: '%',
      goal: '≤ 20 %',
      holds: medianError <= 0.2,
    },
  ];
}

/** The drain curve beside what the quota allows. */
export function drainCurve(title: string, { progress }: Drained): Drawing {
  const [seconds, served] = progress.at(-1) ?? [1, 1];
  const quota = [
    [0, 0],
    [served / scarcest.perSecond, served],
  ] as const;
  return {
    title,
    says: `Devices with their certificate over time, beside what ${scarcest.operation} allows: ${scarcest.perSecond} a second.`,
    plot: {
      x: { label: 'seconds', to: Math.max(seconds, served / scarcest.perSecond) },
      y: { label: 'devices', to: served },
      lines: [
        { name: 'served', style: 'first', points: progress },
        { name: 'quota', style: 'quota', points: quota },
      ],
    },
  };
}

/** Follows the scarcest call while `work` runs. Time begins with the first call that a vend makes, and ends with the last. */
export async function drain<T>(aws: AwsAccount, work: () => Promise<T>): Promise<[Drained, T]> {
  const before = await aws.calls();
  const countOf = (calls: AwsCalls) => succeeded(calls) - succeeded(before);
  const samples: [number, number][] = [];
  let over = false;
  const follow = async () => {
    while (!over) {
      const calls = await aws.calls();
      samples.push([performance.now(), countOf(calls)]);
      await sleep(sampleMs);
    }
  };
  const following = follow();
  try {
    const result = await work();
    const calls = since(before, await aws.calls());
    over = true;
    await following;
    return [drainedOf(samples, calls), result];
  } finally {
    over = true;
  }
}

function drainedOf(samples: readonly [number, number][], calls: AwsCalls): Drained {
  const total = samples.at(-1)?.[1] ?? 0;
  const began = [...samples].reverse().find(([, count]) => count === 0)?.[0] ?? 0;
  const ended = samples.find(([, count]) => count === total)?.[0] ?? 0;
  const progress = samples
    .filter(([at]) => at >= began && at <= ended)
    .map(([at, count]) => [(at - began) / 1000, count] as const);
  return { progress, seconds: (ended - began) / 1000, calls };
}

const succeeded = (calls: AwsCalls): number => {
  const { calls: made = 0, throttled = 0 } = calls[scarcest.operation] ?? {};
  return made - throttled;
};

/** The share of what the scarcest quota allows in the time from the first activation to the last. */
export const efficiency = ({ seconds }: Pick<Drained, 'seconds'>, served: number): number =>
  served / (seconds * scarcest.perSecond);

/** Of all calls to AWS IoT: DynamoDB has no quota here. */
export function throttledShare(calls: AwsCalls): number {
  const ofIot = Object.entries(calls).filter(([operation]) => !operation.startsWith('DynamoDB.'));
  const made = ofIot.reduce((sum, [, each]) => sum + each.calls, 0);
  return ofIot.reduce((sum, [, each]) => sum + each.throttled, 0) / Math.max(1, made);
}

/** What was called and throttled, for the reader of a run. */
export function callsText(calls: AwsCalls): string {
  return Object.entries(calls)
    .filter(([, { calls: made }]) => made > 0)
    .map(
      ([operation, { calls: made, throttled }]) =>
        `${operation} ${made}${throttled > 0 ? ` (${throttled} throttled)` : ''}`,
    )
    .join(', ');
}

export function since(before: AwsCalls, now: AwsCalls): AwsCalls {
  return Object.fromEntries(
    Object.entries(now).map(([operation, { calls, throttled }]) => {
      const earlier = before[operation] ?? { calls: 0, throttled: 0 };
      return [operation, { calls: calls - earlier.calls, throttled: throttled - earlier.throttled }];
    }),
  );
}

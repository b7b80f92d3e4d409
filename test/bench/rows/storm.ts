import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Figure } from '../../chaos/figures.ts';
import { type Row, type RowContext, rounded } from '../row.ts';
import type { Gateway, SimReport } from '../site.ts';
import { drain, efficiency, toldFigures } from './quota.ts';

const mib = 2 ** 20;

/** What the broker may hold above its calm level: a place for each device, and no more. */
const perDeviceBytes = 64 * 1024;

type LoopDelay = { readonly p50: number; readonly p99: number; readonly max: number; readonly own: number };

/** A site that comes back at once, at an account whose quotas were lifted: what the machine itself can take. */
export const storm: Row = {
  name: 'storm',
  title: '10,000 devices within a second, quotas lifted to 200/s, 30 s of patience',
  minutes: 8,
  async run(context: RowContext) {
    const devices = 10_000;
    const quotas = lifted(200);
    const { report, delay, rss } = await comeBack(context, { devices, addresses: 200, quotas, awsMs: 0 });
    const { firstTry = { connected: 0 } } = report;
    return {
      figures: [
        ...servedFigures(report, devices, 'storm'),
        {
          name: 'storm: connected at the first try',
          value: rounded(firstTry.connected * 100, 1),
          unit: '%',
          goal: '≥ 95 %',
          holds: firstTry.connected >= 0.95,
        },
        {
          name: "storm: delay of the broker's event loop, p99",
          value: rounded(delay.p99, 1),
          unit: `ms (the broker worked in ${rounded(delay.own, 1)} ms of it; longest ${rounded(delay.max, 0)} ms)`,
          goal: '≤ 50 ms',
          holds: delay.p99 <= 50,
        },
        {
          name: 'storm: memory of the broker above its calm level',
          value: rounded((rss.peak - rss.calm) / mib, 0),
          unit: `MiB (calm ${rounded(rss.calm / mib, 0)} MiB)`,
          goal: `≤ ${(devices * perDeviceBytes) / mib} MiB`,
          holds: rss.peak - rss.calm <= devices * perDeviceBytes,
        },
        ...toldFigures(report, 'storm'),
      ],
    };
  },
};

/** All devices share one address, as behind a router of the site. */
export const nat: Row = {
  name: 'nat',
  title: 'a power cut behind one NAT address, 2,000 devices, default quotas',
  minutes: 5,
  async run(context: RowContext) {
    const devices = 2000;
    const { report, seconds } = await comeBack(context, { devices, addresses: 1, quotas: 'default', awsMs: 60 });
    const share = efficiency({ seconds }, devices);
    return {
      figures: [
        ...servedFigures(report, devices, 'NAT'),
        {
          name: 'NAT: quota efficiency',
          value: rounded(share * 100, 1),
          unit: '% of the quota',
          goal: '≥ 97 %',
          holds: share >= 0.97,
        },
        ...toldFigures(report, 'NAT'),
      ],
    };
  },
};

const lifted = (perSecond: number): string =>
  [
    'UpdateCertificate',
    'CreateCertificateFromCsr',
    'CreateKeysAndCertificate',
    'AttachPolicy',
    'AttachThingPrincipal',
    'CreateThing',
  ]
    .map((operation) => `${operation}=${perSecond}`)
    .join(',');

async function comeBack(
  { sites, say }: RowContext,
  { devices, addresses, quotas, awsMs }: { devices: number; addresses: number; quotas: string; awsMs: number },
) {
  const aws = await sites.startAws({ quotas });
  const folder = sites.folder('storm');
  const delayFile = join(folder, 'delay');
  const env = {
    BENCH_LOOP_DELAY: delayFile,
    CVM_MAX_CONNECTIONS: String(devices + 1000),
    ...(quotas === 'default' ? {} : { CVM_QUOTAS: quotas }),
  };
  const flags = ['--import', join(import.meta.dirname, '..', 'loop-delay.js')];
  const gateway = await sites.startGateway(aws, env, { flags });
  say(`enrolling ${devices} devices`);
  const credentials = await gateway.enrol(devices);
  await sleep(10_000);
  await aws.setLatency(awsMs);
  const scenario = join(folder, 'storm.json');
  writeFileSync(scenario, JSON.stringify(scenarioOf(devices, addresses)));
  const calm = rssOf(gateway);
  let peak = calm;
  const watching = setInterval(() => {
    peak = Math.max(peak, rssOf(gateway));
  }, 200);
  process.kill(gateway.broker.pid, 'SIGUSR2');
  say(`${devices} devices ask`);
  try {
    const [drained, report] = await drain(aws, () =>
      gateway.simulate(['--scenario', scenario, '--credentials', credentials]),
    );
    await sleep(1500);
    return { report, seconds: drained.seconds, delay: delayOf(folder), rss: { calm, peak } };
  } finally {
    clearInterval(watching);
    await gateway.close();
  }
}

const scenarioOf = (devices: number, addresses: number) => ({
  description: 'All devices of a site ask within a second',
  arrival: { curve: 'even', seconds: 1 },
  site: [{ part: 1, flow: 'csr' }],
  devices,
  addresses,
  patienceSeconds: 30,
  timeoutSeconds: 1200,
});

function servedFigures(report: SimReport, devices: number, about: string): Figure[] {
  const refused = Object.values(report.rejected).reduce((sum, count) => sum + count, 0);
  return [
    {
      name: `${about}: devices with a certificate`,
      value: report.accepted,
      goal: String(devices),
      holds: report.accepted === devices,
    },
    { name: `${about}: devices refused for good`, value: refused, goal: '0', holds: refused === 0 },
  ];
}

function rssOf({ broker }: Gateway): number {
  const match = /VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${broker.pid}/status`, 'utf8'));
  return Number(match?.[1] ?? 0) * 1024;
}

/** Of the broker whose event loop was the latest. */
function delayOf(folder: string): LoopDelay {
  const found = readdirSync(folder)
    .filter((name) => name.startsWith('delay-'))
    .map((name) => JSON.parse(readFileSync(join(folder, name), 'utf8')) as LoopDelay);
  return (
    found.sort((a, b) => b.p99 - a.p99)[0] ?? { p50: Number.NaN, p99: Number.NaN, max: Number.NaN, own: Number.NaN }
  );
}

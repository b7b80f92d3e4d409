import { counted } from '../runtime/counted.ts';
import { htmlDocument, type Section } from './document.ts';
import { escapeHtml, type Point, plotSvg } from './plot.ts';
import { endings, facts, percent, type Report } from './report.ts';

/** The report as one HTML file: no script, nothing from outside. */
export function renderPage(result: Report): string {
  const { unended, accepted, wallMs } = result;
  const interrupted = unended === undefined ? '' : '; the run was interrupted';
  const headline = `${accepted.toLocaleString('en')} of ${counted(allOf(result), 'device')} got a certificate, in ${duration(wallMs / 1000)}${interrupted}`;
  return htmlDocument({ headline, about: about(result), table: table(result), sections: sections(result) });
}

/** Which run it was: without when and against what, a page that is found later says nothing. */
function about({ scenario = 'none', seed = 0, kinds, target, startedAt, version }: Report): string {
  const named = scenario === 'none' ? 'Without a scenario' : `Scenario <b>${escapeHtml(scenario)}</b>`;
  const devices = kinds === undefined ? '' : `, devices: ${escapeHtml(kinds)}`;
  const run = [
    startedAt === undefined ? '' : ` from ${escapeHtml(startedAt.slice(0, 16).replace('T', ' '))} UTC`,
    target === undefined ? '' : ` against ${escapeHtml(target)}`,
    version === undefined ? '' : `, by cvm ${escapeHtml(version)}`,
  ].join('');
  return `${named}, seed ${seed}${devices}. All devices are simulated${run}.`;
}

/** The devices of the run, also those that an interruption left without an end. */
const allOf = ({ devices, unended = 0 }: Report): number => devices + unended;

function sections(result: Report): Section[] {
  return [drain(result), latency(result), eta(result), ends(result), gateway(result)];
}

function table(result: Report): string {
  const rows = facts(result).map(
    ([name, text]) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(text)}</td></tr>`,
  );
  return `<table>${rows.join('')}</table>`;
}

function drain(result: Report): Section {
  const { moments = [], quotaPerSecond } = result;
  const devices = allOf(result);
  const title = 'Certificates over time';
  const end = Math.max(1, moments.at(-1)?.at ?? 1);
  const line = (name: string, style: string, points: readonly Point[]) => ({ name, style, points });
  const quota =
    quotaPerSecond === undefined
      ? []
      : [line(`quota, ${quotaPerSecond}/s`, 'quota', quotaLine(quotaPerSecond, devices, end))];
  const lines = [
    line(
      'accepted',
      'first',
      moments.map(({ at, accepted }) => [at, accepted]),
    ),
    line(
      'waiting for their answer',
      'second',
      moments.map(({ at, waiting }) => [at, waiting]),
    ),
    ...quota,
  ];
  const says =
    quotaPerSecond === undefined
      ? 'How many devices had their certificate, and how many waited. With --quota N the line of what AWS allows is drawn as well.'
      : `How many devices had their certificate, and how many waited. The closer the first line runs to the quota's, the less of what AWS allows (${quotaPerSecond} a second) is wasted.`;
  return {
    title,
    says,
    body: plotSvg(
      { x: { label: 'seconds', to: end }, y: { label: 'devices', to: Math.max(1, devices) }, lines },
      title,
    ),
  };
}

const quotaLine = (perSecond: number, devices: number, end: number): Point[] => {
  const full = devices / perSecond;
  return full < end
    ? [
        [0, 0],
        [full, devices],
        [end, devices],
      ]
    : [
        [0, 0],
        [end, end * perSecond],
      ];
};

function latency({ latencyHistogram = [], latencyMs }: Report): Section {
  const title = 'How long a device waited';
  const [first, last] = [latencyHistogram[0], latencyHistogram.at(-1)];
  if (first === undefined || last === undefined || latencyMs === undefined)
    return { title, says: 'No device got a certificate.', body: '' };
  const says = `From its first request to its certificate. Half of the devices waited at most ${duration(latencyMs.p50 / 1000)}, 99 of 100 at most ${duration(latencyMs.p99 / 1000)}, the last one ${duration(latencyMs.max / 1000)}.`;
  const bars = latencyHistogram.map(({ fromMs, toMs, count }) => ({
    from: fromMs / 1000,
    to: toMs / 1000,
    height: count,
  }));
  const x = {
    label: 'seconds (each step is longer than the one before)',
    from: first.fromMs / 1000,
    to: last.toMs / 1000,
    log: true,
  };
  return {
    title,
    says,
    body: plotSvg({ x, y: { label: 'devices', to: Math.max(...bars.map((bar) => bar.height)) }, bars }, title),
  };
}

function eta({ pending }: Report): Section {
  const title = 'Was the promised time right?';
  if (pending === undefined || pending.etas.length === 0)
    return { title, says: 'No device was told how long it would wait.', body: '' };
  const end = Math.max(1, ...pending.etas.flat());
  const says = `${counted(pending.told, 'device')} were told how long it would take. On the line the promise was exact; above it the device waited longer. Half of the promises were within ${percent(pending.medianError ?? 0)} of the real wait.`;
  const lines = [
    {
      name: 'exact',
      style: 'quota',
      points: [
        [0, 0],
        [end, end],
      ] as Point[],
    },
  ];
  const [x, y] = [
    { label: 'seconds told', to: end },
    { label: 'seconds waited', to: end },
  ];
  return { title, says, body: plotSvg({ x, y, lines, points: pending.etas }, title) };
}

function ends(result: Report): Section {
  const title = 'Refusals';
  const refused = endings(result).filter(([name]) => name !== 'accepted');
  if (refused.length === 0) return { title, says: 'No device was refused, and none gave up.', body: '' };
  const most = Math.max(...refused.map(([, count]) => count));
  const rows = refused.map(
    ([name, count]) =>
      `<tr><th scope="row">${escapeHtml(name)}</th><td class="count">${count}</td><td class="wide"><svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="bar" width="${((count / most) * 100).toFixed(1)}" height="8"/></svg></td></tr>`,
  );
  const { asExpected, devices } = result;
  const says = `Devices that got no certificate, by reason.${asExpected === undefined ? '' : ` ${asExpected} of ${devices} ended as the scenario wants: a wrong token must be refused.`}`;
  return { title, says, body: `<table>${rows.join('')}</table>` };
}

function gateway({ moments = [], gateway: cost }: Report): Section {
  const title = "The gateway's processor and memory";
  if (cost === undefined)
    return {
      title,
      says: 'Not watched. With --gateway-pid the processes of a gateway on the same machine are.',
      body: '',
    };
  const end = Math.max(1, moments.at(-1)?.at ?? 1);
  const busy = cores(moments);
  const memory = moments.map(({ at, gatewayRssBytes = 0 }): Point => [at, gatewayRssBytes / 1024 / 1024]);
  const x = { label: 'seconds', to: end };
  const plot = (label: string, name: string, style: string, points: Point[]) =>
    plotSvg(
      {
        x,
        y: { label, to: Math.max(0.01, ...points.map(([, value]) => value)) * 1.1 },
        lines: [{ name, style, points }],
      },
      label,
    );
  return {
    title,
    says: `The watched processes together took ${cost.cpuMsPerDevice} ms of processor time for each certificate. The simulator's own time is not in it.`,
    body: plot('cores in use', 'processor', 'first', busy) + plot('MB', 'memory', 'second', memory),
  };
}

/** The kernel counts CPU time in steps of 10 ms, so a shorter distance than this tells nothing. */
const shortestSeconds = 0.5;

/** CPU time between two moments over the time between them. */
function cores(moments: NonNullable<Report['moments']>): Point[] {
  return moments.slice(1).flatMap((moment, index): Point[] => {
    const before = moments[index] ?? moment;
    const seconds = moment.at - before.at;
    const cpuMs = (moment.gatewayCpuMs ?? 0) - (before.gatewayCpuMs ?? 0);
    return seconds < shortestSeconds ? [] : [[moment.at, cpuMs / 1000 / seconds]];
  });
}

export function duration(seconds: number): string {
  if (seconds < 10) return `${seconds.toFixed(seconds < 1 ? 2 : 1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  return seconds < 7200 ? `${(seconds / 60).toFixed(1)} min` : `${(seconds / 3600).toFixed(1)} h`;
}

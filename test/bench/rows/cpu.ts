import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { type Row as CompareRow, measure, type Pair, rowsOf } from '../compare.ts';
import { earlierCheckout } from '../earlier-checkout.ts';
import { cvmOf, type Flow, startGateway } from '../gateway.ts';
import { selfTimes } from '../profile.ts';
import { type CpuOptions, type Row, type RowContext, rounded } from '../row.ts';

const goalMs = 7;

/** The commit with which the figures in docs/performance.md are compared. */
const earlier = '4851c71';

/** CPU of broker, worker and Redis for a device, while AWS answers at once; beside an earlier commit that works at the same time. */
export const cpu: Row = {
  name: 'cpu',
  title: `CPU of broker, worker and Redis for a device, beside ${earlier}`,
  minutes: 15,
  async run({ checkout, say, cpu: options }: RowContext) {
    const there =
      options.profiles === undefined ? (options.against ?? (await earlierCheckout(checkout, earlier, say))) : undefined;
    const figures = [];
    for (const flow of options.flows) {
      const rows = rowsOf(flow, options.devices, await pairsOf(flow, checkout, there, options, say));
      for (const row of rows) say(lineOf(row));
      if (options.profiles !== undefined) sayProfiles(join(options.profiles, flow), options.devices, say);
      const vend = rows.find(({ phase, part }) => phase === 'vend' && part === 'all');
      const here = vend?.here ?? Number.POSITIVE_INFINITY;
      figures.push({
        name: `CPU a device, ${flow}`,
        value: rounded(here),
        unit: `ms (${rounded(vend?.there ?? 0)} ms at ${earlier}, ratio ${rounded(vend?.ratio?.median ?? 0)})`,
        goal: `≤ ${goalMs} ms`,
        holds: here <= goalMs,
      });
    }
    return { figures };
  },
};

async function pairsOf(
  flow: Flow,
  here: string,
  there: string | undefined,
  { devices, starts, rounds, profiles }: CpuOptions,
  say: RowContext['say'],
): Promise<Pair[]> {
  const pairs: Pair[] = [];
  const simulator = cvmOf(here);
  const folder = profiles && join(profiles, flow);
  if (folder !== undefined) mkdirSync(folder, { recursive: true });
  for (let start = 1; start <= starts; start++) {
    say(`start ${start} of ${starts}`);
    const ours = await startGateway(here, simulator, folder);
    const theirs = there === undefined ? undefined : await startGateway(there, simulator);
    try {
      pairs.push(
        ...(await measure(
          theirs === undefined ? { here: ours } : { here: ours, there: theirs },
          { devices, rounds, flow },
          say,
        )),
      );
    } finally {
      await theirs?.close();
      await ours.close();
    }
  }
  return pairs;
}

function sayProfiles(folder: string, devices: number, say: RowContext['say']): void {
  for (const part of ['broker', 'worker']) {
    say(`${part}, ms of each device by module`);
    for (const { module, ms } of selfTimes(join(folder, `${part}.cpuprofile`)).slice(0, 25))
      say(`  ${(ms / devices).toFixed(3)} ${module}`);
  }
}

function lineOf({ flow, phase, part, here, there, ratio }: CompareRow): string {
  const ratios =
    ratio === undefined
      ? ''
      : `, ratio ${rounded(ratio.median, 3)} (${rounded(ratio.min, 3)} to ${rounded(ratio.max, 3)})`;
  const earlierMs = there === undefined ? '' : `, earlier ${rounded(there)} ms`;
  return `${join(flow, phase, part)}: ${rounded(here)} ms${earlierMs}${ratios}`;
}

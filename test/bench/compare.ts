import type { BenchGateway, Cpu, Flow, Round } from './gateway.ts';

/** One line of the table. Times are milliseconds of CPU for one device, the median over the rounds. */
export type Row = {
  readonly flow: Flow;
  readonly phase: 'enrol' | 'vend' | 'both';
  readonly part: keyof Cpu | 'all';
  readonly here: number;
  readonly there?: number;
  /** here divided by there, for the two runs of each round; missing where too little was spent to divide */
  readonly ratio?: { readonly median: number; readonly min: number; readonly max: number };
};

type Sides = { readonly here: BenchGateway; readonly there?: BenchGateway };
export type Pair = { readonly here: Round; readonly there?: Round };

/**
 * Measures one flow at two gateways that were just started: a round that is not counted, then `rounds` that are. Both sides
 * work at the same time, so whatever else slows the machine slows both alike: one after the other, equal sides differed by up
 * to a third. They take turns at being first.
 */
export async function measure(
  sides: Sides,
  { devices, rounds, flow }: { devices: number; rounds: number; flow: Flow },
  say: (line: string) => void,
): Promise<Pair[]> {
  const one = (gateway: BenchGateway) => gateway.round(devices, flow);
  const pair = async (round: number): Promise<Pair> => {
    say(`${flow}, ${round === 0 ? 'warm-up' : `round ${round} of ${rounds}`}`);
    if (sides.there === undefined) return { here: await one(sides.here) };
    if (round % 2 === 0) {
      const [here, there] = await Promise.all([one(sides.here), one(sides.there)]);
      return { here, there };
    }
    const [there, here] = await Promise.all([one(sides.there), one(sides.here)]);
    return { here, there };
  };
  const pairs: Pair[] = [];
  for (let round = 0; round <= rounds; round++) {
    const measured = await pair(round);
    if (round > 0) pairs.push(measured);
  }
  return pairs;
}

/** What a row takes from a round. */
const figures: readonly [Row['phase'], Row['part'], (round: Round) => number][] = [
  ['enrol', 'broker', ({ enrol }) => enrol.broker],
  ['enrol', 'worker', ({ enrol }) => enrol.worker],
  ['enrol', 'redis', ({ enrol }) => enrol.redis],
  ['enrol', 'all', ({ enrol }) => whole(enrol)],
  ['vend', 'broker', ({ vend }) => vend.broker],
  ['vend', 'worker', ({ vend }) => vend.worker],
  ['vend', 'redis', ({ vend }) => vend.redis],
  ['vend', 'all', ({ vend }) => whole(vend)],
  ['both', 'all', ({ enrol, vend }) => whole(enrol) + whole(vend)],
];

const whole = ({ broker, worker, redis }: Cpu): number => broker + worker + redis;

/** The kernel counts in steps of 10 ms: a ratio of less than this much would say more of the steps than of the work. */
const leastMs = 100;

/** @param pairs CPU time of whole rounds */
export function rowsOf(flow: Flow, devices: number, pairs: readonly Pair[]): Row[] {
  return figures.map(([phase, part, of]) => {
    const here = median(pairs.map((pair) => of(pair.here))) / devices;
    const both = pairs.flatMap((pair) => (pair.there === undefined ? [] : [[of(pair.here), of(pair.there)] as const]));
    if (both.length === 0) return { flow, phase, part, here };
    const row = { flow, phase, part, here, there: median(both.map(([, theirs]) => theirs)) / devices };
    if (both.some(([ours, theirs]) => Math.min(ours, theirs) < leastMs)) return row;
    const ratios = both.map(([ours, theirs]) => ours / theirs);
    return { ...row, ratio: { median: median(ratios), min: Math.min(...ratios), max: Math.max(...ratios) } };
  });
}

/** The middle value, or the mean of the two in the middle. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low = 0, high = low] = [sorted[Math.floor((sorted.length - 1) / 2)], sorted[Math.floor(sorted.length / 2)]];
  return (low + high) / 2;
}

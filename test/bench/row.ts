import type { Plot } from '../../gateway-sim/plot.ts';
import type { Figure } from '../chaos/figures.ts';
import type { Flow } from './gateway.ts';
import type { Sites } from './site.ts';

/** What a page shows beside the figures. */
export type Drawing = { readonly title: string; readonly says: string; readonly plot: Plot };

export type Measured = { readonly figures: readonly Figure[]; readonly drawings?: readonly Drawing[] };

/** One row of the benchmark. It starts what it needs, measures, and says what it found. */
export type Row = {
  readonly name: string;
  /** what it measures, in one line */
  readonly title: string;
  /** how long it takes on two cores, in minutes */
  readonly minutes: number;
  run(context: RowContext): Promise<Measured>;
};

export type RowContext = {
  readonly sites: Sites;
  /** this checkout, built */
  readonly checkout: string;
  /** of the row `cpu`, for a closer look */
  readonly cpu: CpuOptions;
  say(line: string): void;
};

export type CpuOptions = {
  /** a built checkout, in place of the commit with which the documented figures are compared */
  readonly against?: string | undefined;
  readonly devices: number;
  readonly starts: number;
  readonly rounds: number;
  readonly flows: readonly Flow[];
  /** a folder for CPU profiles; nothing is then compared */
  readonly profiles?: string | undefined;
};

/** @param digits after the point */
export const rounded = (value: number, digits = 2): number => Number(value.toFixed(digits));

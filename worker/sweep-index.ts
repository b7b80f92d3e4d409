import type { Device } from '../registry/device.ts';
import type { SweepRun } from './sweep-findings.ts';

/** A row that is not in the index of sites, so that gateways with a site find it only when its device asks. */
export type Unindexed = { readonly serial: string; readonly site: string | undefined };

/** Rows that are written at a time. */
const atATime = 16;

/** A site without a name is that of a row whose `site` is no text: no gateway serves it, and no index takes it. */
export const isUnindexed = ({ changedAt, site }: Device): boolean => changedAt === undefined && site !== '';

/** One write for each row, once: the sweep reads every row anyway, and gateways with a site do not. @returns how many */
export async function enterInIndex(
  rows: readonly Unindexed[],
  { registry, now, stopped }: Pick<SweepRun, 'registry' | 'now' | 'stopped'>,
): Promise<number> {
  let entered = 0;
  for (let start = 0; start < rows.length && !stopped?.(); start += atATime) {
    const some = rows.slice(start, start + atATime);
    const done = await Promise.all(
      some.map(({ serial, site }) => registry.enterInIndex({ serial, ...(site === undefined ? {} : { site }) }, now())),
    );
    entered += done.filter(Boolean).length;
  }
  return entered;
}

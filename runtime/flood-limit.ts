/** How many lines are let through one by one: of each source, and of all sources together. */
export type FloodLimits = {
  readonly perSecond: number;
  readonly perDay: number;
  readonly perDayOfAll: number;
};

/** The rest is reported by number, as often as this. Milliseconds. */
const summaryMs = 60_000;

/**
 * A quarter of what all together may have in a day is kept for the first lines of each source: two sources that flood would
 * otherwise use up the day, and no line about any other would be seen until its end.
 */
const [keptForFirst, firstLines] = [1 / 4, 10];

/** A source that was not seen for long is forgotten when there are more. */
const maxSources = 10_000;

/** How many of each kind were not let through in the last seconds. */
export type FloodReport<Kind extends string> = (
  beyond: Readonly<Partial<Record<Kind, number>>>,
  ofLastSeconds: number,
) => void;

export type FloodLimit<Kind extends string> = ReturnType<typeof createFloodLimit<Kind>>;

/**
 * Bounds how much strangers can make the gateway write: lets through some lines of each source (an address, a serial), and
 * counts the others, which are reported once a minute. Sources that flood take nothing from the first lines of another one, until
 * there are more sources than the quarter of the day that is kept for first lines has room for.
 */
export function createFloodLimit<Kind extends string>(
  { perSecond, perDay, perDayOfAll }: FloodLimits,
  report: FloodReport<Kind>,
  now: () => number = () => performance.now(),
) {
  const budgets = [createBudget(perSecond, 1000), createBudget(perDay, 86_400_000)];
  const first = createBudget(firstLines, 86_400_000);
  const ofAll = createBudget(perDayOfAll, 86_400_000);
  const ofFloods = createBudget(perDayOfAll * (1 - keptForFirst), 86_400_000);
  let beyond: Partial<Record<Kind, number>> = {};
  const timer = setInterval(flush, summaryMs);
  timer.unref();

  function flush(): void {
    if (Object.keys(beyond).length === 0) return;
    report(beyond, summaryMs / 1000);
    beyond = {};
  }

  function fitsDay(source: string, time: number): boolean {
    // each line counts among all; those beyond the first ones of their source must also fit into what is not kept
    const isFirst = first(source, time);
    return (ofFloods('', time) || isFirst) && ofAll('', time);
  }

  return {
    /** @returns whether there is room for one more line about this source; otherwise it is counted */
    fits(source: string, kind: Kind): boolean {
      const time = now();
      if (budgets.every((fits) => fits(source, time)) && fitsDay(source, time)) return true;
      beyond[kind] = (beyond[kind] ?? 0) + 1;
      return false;
    },
    close(): void {
      clearInterval(timer);
      flush();
    },
  };
}

/** Counts up to `most` for each source in each period of `ms`. */
function createBudget(most: number, ms: number): (source: string, time: number) => boolean {
  let period = 0;
  const used = new Map<string, number>();
  return (source, time) => {
    const present = Math.floor(time / ms);
    if (present !== period || used.size > maxSources) {
      period = present;
      used.clear();
    }
    const count = used.get(source) ?? 0;
    if (count < most) used.set(source, count + 1);
    return count < most;
  };
}

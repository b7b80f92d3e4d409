/** What is let through one by one, of each source and of all together. */
export type FloodLimits = {
  readonly perSecond: number;
  readonly perDay: number;
  readonly perDayOfAll: number;
};

/** The rest is reported by number, as often as this. Milliseconds. */
const summaryMs = 60_000;

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
 * counts the others, which are reported once a minute. A source that floods takes nothing from another one, until all
 * together reach their limit of the day.
 */
export function createFloodLimit<Kind extends string>(
  { perSecond, perDay, perDayOfAll }: FloodLimits,
  report: FloodReport<Kind>,
  now: () => number = () => performance.now(),
) {
  const budgets = [createBudget(perSecond, 1000), createBudget(perDay, 86_400_000)];
  const ofAll = createBudget(perDayOfAll, 86_400_000);
  let beyond: Partial<Record<Kind, number>> = {};
  const timer = setInterval(flush, summaryMs);
  timer.unref();

  function flush(): void {
    if (Object.keys(beyond).length === 0) return;
    report(beyond, summaryMs / 1000);
    beyond = {};
  }

  return {
    /** @returns whether there is room for one more line about this source; otherwise it is counted */
    fits(source: string, kind: Kind): boolean {
      const time = now();
      if (budgets.every((fits) => fits(source, time)) && ofAll('', time)) return true;
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

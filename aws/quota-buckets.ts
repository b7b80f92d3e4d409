/** Operations of AWS IoT Core, without IAM's prefix, and how many calls of each. */
export type CallCounts = Readonly<Record<string, number>>;

/**
 * A bucket of tokens for each operation that has a quota; a token is the right to one call. It fills at a rate that is at most the
 * quota, less where AWS throttles, since others of the account call as well. Operations without a quota are not asked for.
 */
export interface QuotaBuckets {
  /** Takes all of these tokens or none. @returns 0, or the milliseconds until they may be there */
  takeAll(calls: CallCounts): Promise<number>;
  /** Takes one in advance, before all who ask for it later. @returns the milliseconds until it is there */
  takeOne(operation: string): Promise<number>;
  giveBack(calls: CallCounts): Promise<void>;
  /**
   * AWS throttled a call. The rate falls once for all calls that were sent before it fell.
   * @returns the new rate in calls a second; undefined where it had fallen already
   */
  throttled(operation: string, sentMsAgo: number): Promise<number | undefined>;
  /** Calls a second, at present, of every operation that has a quota. */
  rates(): Promise<CallCounts>;
}

/** How the rate of an operation follows AWS's answers. docs/quotas.md says why, with figures. */
export type QuotaRule = {
  /** of the quota: how much of it is used at most, so that clocks need not agree to the microsecond */
  readonly ceiling: number;
  /** seconds of the rate that may be called at once, and at least so many calls */
  readonly burstSeconds: number;
  readonly leastBurst: number;
  /** what is left of the rate after a throttled call */
  readonly cut: number;
  /** the same where the whole quota was used, and once more within `steepMs`: several gateways have begun at once */
  readonly steepCut: number;
  readonly steepMs: number;
  /** the fourth power of the share of the quota grows by 4 × this in a second: the smaller the share, the faster */
  readonly growth: number;
  /** after so long without a throttled call the rate doubles every `doubleMs`: the others have gone */
  readonly quietMs: number;
  readonly doubleMs: number;
  /** of the quota: the lowest rate */
  readonly floor: number;
  /** seconds of the quota: the most that is taken in advance */
  readonly debtSeconds: number;
};

export const quotaRule: QuotaRule = {
  ceiling: 0.995,
  burstSeconds: 0.1,
  leastBurst: 2,
  cut: 0.8,
  steepCut: 0.45,
  steepMs: 3000,
  growth: 8e-5,
  quietMs: 20_000,
  doubleMs: 4000,
  floor: 0.005,
  debtSeconds: 30,
};

/** The bucket of one operation. Times in milliseconds. */
export type QuotaBucket = {
  /** tokens at `at`; negative: taken in advance */
  readonly level: number;
  readonly at: number;
  /** the share of the quota after the last cut, at `cutAt` */
  readonly share: number;
  readonly cutAt: number;
  /** the last cut began at the whole quota */
  readonly steep: boolean;
};

/** The share of the quota that is used now. */
export function shareOf({ share, cutAt }: QuotaBucket, now: number, rule: QuotaRule): number {
  const calmMs = Math.max(0, now - cutAt);
  const grown = (share ** 4 + (4 * rule.growth * Math.min(calmMs, rule.quietMs)) / 1000) ** (1 / 4);
  const doubled = grown * 2 ** (Math.max(0, calmMs - rule.quietMs) / rule.doubleMs);
  return Math.min(1, Math.max(rule.floor, doubled));
}

const burstOf = (limit: number, rule: QuotaRule): number => Math.max(rule.leastBurst, limit * rule.burstSeconds);

/** Buckets of this process alone: for commands, which have no Redis, and while Redis is away. @param limits calls a second */
export function createOwnBuckets(
  limits: CallCounts,
  { rule = quotaRule, now = () => performance.now() }: { readonly rule?: QuotaRule; now?(): number } = {},
): QuotaBuckets {
  const buckets = new Map<string, QuotaBucket>();
  const limitOf = (operation: string) => (limits[operation] ?? 0) * rule.ceiling;
  const rateOf = (operation: string, at: number) => {
    const bucket = buckets.get(operation);
    return limitOf(operation) * (bucket === undefined ? 1 : shareOf(bucket, at, rule));
  };

  /** The bucket as it is now. */
  function filled(operation: string): QuotaBucket {
    const [at, limit] = [now(), limitOf(operation)];
    const burst = burstOf(limit, rule);
    const last = buckets.get(operation) ?? {
      level: burst,
      at,
      share: 1,
      cutAt: Number.NEGATIVE_INFINITY,
      steep: false,
    };
    const level = Math.min(burst, last.level + (Math.max(0, at - last.at) / 1000) * rateOf(operation, at));
    return { ...last, level: Math.max(level, -limit * rule.debtSeconds), at };
  }

  function add(operation: string, tokens: number): QuotaBucket {
    const bucket = filled(operation);
    const level = Math.min(burstOf(limitOf(operation), rule), bucket.level + tokens);
    buckets.set(operation, { ...bucket, level });
    return { ...bucket, level };
  }

  return {
    async takeAll(calls) {
      const waits = Object.entries(calls).map(([operation, count]) => {
        const { level, at } = filled(operation);
        const needed = Math.min(count, burstOf(limitOf(operation), rule));
        return ((needed - level) / rateOf(operation, at)) * 1000;
      });
      const waitMs = Math.max(0, ...waits);
      if (waitMs > 0) return waitMs;
      for (const [operation, count] of Object.entries(calls)) add(operation, -count);
      return 0;
    },
    async takeOne(operation) {
      const { level, at } = add(operation, -1);
      return Math.max(0, (-level / rateOf(operation, at)) * 1000);
    },
    async giveBack(calls) {
      for (const [operation, count] of Object.entries(calls)) add(operation, count);
    },
    async throttled(operation, sentMsAgo) {
      const bucket = filled(operation);
      const { at, cutAt } = bucket;
      if (at - sentMsAgo < cutAt) return undefined;
      const used = shareOf(bucket, at, rule);
      const steep = used >= 1;
      const again = bucket.steep && at - cutAt < rule.steepMs;
      const share = Math.max(rule.floor, used * (steep || again ? rule.steepCut : rule.cut));
      // AWS's bucket is empty
      buckets.set(operation, { level: Math.min(0, bucket.level), at, share, cutAt: at, steep });
      return limitOf(operation) * share;
    },
    async rates() {
      const at = now();
      return Object.fromEntries(Object.keys(limits).map((operation) => [operation, rateOf(operation, at)]));
    },
  };
}

export type Summary = { readonly count: number; readonly mean: number; readonly variance: number };

export function summarize(samples: readonly number[]): Summary {
  const mean = samples.reduce((sum, value) => sum + value, 0) / samples.length;
  const variance = samples.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (samples.length - 1);
  return { count: samples.length, mean, variance };
}

/**
 * Welch's t: the difference of two means in standard errors. Above 4.5 in either direction, two kinds of measurements count
 * as distinguishable (the threshold of ISO/IEC 17825 for side channels).
 */
export function welchT(a: Summary, b: Summary): number {
  return (a.mean - b.mean) / Math.sqrt(a.variance / a.count + b.variance / b.count);
}

/** @param share 0.99 for p99. Does not change the samples. */
export function percentile(samples: readonly number[], share: number): number {
  const sorted = [...samples].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
}

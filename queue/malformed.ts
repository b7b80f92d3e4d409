import type { Log } from '../runtime/log.ts';

const quietMs = 60_000;

export type ReportMalformed = (what: string) => void;

/**
 * Redis is not trusted: what comes from it is read as what comes from a device, and left out where it is not what a part of
 * ours writes. @returns says so, as a warning at most once a minute
 */
export function createMalformedReport(log: Log): ReportMalformed {
  let nextMs = 0;
  return (what) => {
    const now = performance.now();
    const level = now < nextMs ? 'debug' : 'warn';
    if (level === 'warn') nextMs = now + quietMs;
    log[level]({ what }, 'Redis has something that no part of this gateway writes; it is ignored');
  };
}

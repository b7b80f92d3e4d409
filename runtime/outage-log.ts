import type { Log } from './log.ts';

/** Logs an outage once, although it is noticed at each attempt, and once that it is over. */
export function createOutageLog(log: Log, { away, back }: { readonly away: string; readonly back: string }) {
  let isAway = false;
  return {
    /** @param cure instead of `away`, for an outage that lasts until a person acts */
    failed(err: unknown, cure?: string): void {
      const level = cure === undefined ? 'warn' : 'error';
      log[isAway ? 'debug' : level]({ err }, cure ?? away);
      isAway = true;
    },
    succeeded(): void {
      if (isAway) log.info(back);
      isAway = false;
    },
  };
}

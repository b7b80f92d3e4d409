import { latestLeaseEnd } from '../lease.ts';
import { all, any, conditionsOn, type Rows } from '../rows.ts';
import type { SweepLease } from '../sweep-lease.ts';

/** `sweptAt`: when the last sweep began. Times in epoch milliseconds. */
export type Lease = { readonly holder?: string; readonly leaseUntil?: number; readonly sweptAt?: number };

const { is, isAbove, isAtMost, isMissing } = conditionsOn<Lease>();

const key = '#sweep';

export function createSweepLease(rows: Rows<Lease>): SweepLease {
  return {
    async take(holder, now, leaseMs, everyMs = 0) {
      const leaseUntil = now + leaseMs;
      const isOwn = all(is({ holder }), isAbove('leaseUntil', now));
      if (await rows.update(key, { set: { leaseUntil } }, isOwn)) return true;
      // as with the lease of an attempt, a time that lies too far ahead was written by a clock that was far ahead
      const latest = latestLeaseEnd(now, leaseMs);
      const isFree = any(isMissing('leaseUntil'), isAtMost('leaseUntil', now), isAbove('leaseUntil', latest));
      const isDue = any(isMissing('sweptAt'), isAtMost('sweptAt', now - everyMs), isAbove('sweptAt', latest));
      const taken = await rows.upsert(key, { set: { leaseUntil, holder, sweptAt: now } }, all(isFree, isDue));
      return taken !== undefined;
    },
    async release(holder) {
      await rows.update(key, { set: { leaseUntil: 0 } }, is({ holder }));
    },
    async last() {
      return (await rows.glance(key))?.sweptAt;
    },
  };
}

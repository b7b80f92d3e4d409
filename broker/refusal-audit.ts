import type { ErrorCode, Problem } from '../protocol/problems.ts';
import { isSerial } from '../protocol/serial.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/**
 * Refusals are recorded one by one up to these limits; the others are counted, and each minute that has any records their
 * number. A flood that never ends writes less than 3 MB a day.
 */
const [perSecond, perDay, summaryMs] = [10, 5000, 60_000];

/** Records in the audit trail what the broker refuses by itself, without a worker. */
export function createRefusalAudit(audit: Audit, now: () => number) {
  const inSecond = createBudget(perSecond, 1000);
  const inDay = createBudget(perDay, 86_400_000);
  let beyond: Partial<Record<ErrorCode, number>> = {};
  const timer = setInterval(flush, summaryMs);
  timer.unref();

  function flush(): void {
    if (Object.keys(beyond).length === 0) return;
    audit.record('refused-flood', { byCode: beyond, ofLastSeconds: summaryMs / 1000 });
    beyond = {};
  }

  return {
    /** @returns whether it has a record of its own; the log then has room for a line about it, too */
    refused(serial: string, remoteAddress: string | undefined, { code }: Problem): boolean {
      const time = now();
      if (inSecond(time) && inDay(time)) {
        audit.record('refused', { ...named(serial), remoteAddress, errorCode: code });
        return true;
      }
      beyond[code] = (beyond[code] ?? 0) + 1;
      return false;
    },
    close(): void {
      clearInterval(timer);
      flush();
    },
  };
}

export type RefusalAudit = ReturnType<typeof createRefusalAudit>;

/** Counts up to `most` in each period of `ms`. @returns a function that says whether one more fits into the present one */
function createBudget(most: number, ms: number): (time: number) => boolean {
  let [period, used] = [0, 0];
  return (time) => {
    const present = Math.floor(time / ms);
    if (present !== period) [period, used] = [present, 0];
    return used++ < most;
  };
}

/** Text that is not a serial may hold anything, a token too, and is not recorded. */
function named(serial: string): { serial?: string } {
  return isSerial(serial) ? { serial } : {};
}

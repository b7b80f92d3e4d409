import type { Problem } from '../protocol/problems.ts';
import { isSerial } from '../protocol/serial.ts';
import type { Audit } from '../telemetry/audit-events.ts';

/**
 * So many refusals are recorded one by one; those beyond are recorded by their number, every minute that has any. A flood
 * without end writes less than 3 MB a day.
 */
const [perSecond, perDay, summaryMs] = [10, 5000, 60_000];

/** Records what the broker itself refuses. */
export function createRefusalAudit(audit: Audit, now: () => number) {
  const inSecond = createBudget(perSecond, 1000);
  const inDay = createBudget(perDay, 86_400_000);
  let beyond: Partial<Record<string, number>> = {};
  const timer = setInterval(flush, summaryMs);
  timer.unref();

  function flush(): void {
    if (Object.keys(beyond).length === 0) return;
    audit.record('refused-flood', { byCode: beyond, ofLastSeconds: summaryMs / 1000 });
    beyond = {};
  }

  return {
    /** @returns whether it was recorded by itself; the log need say no more than the record does */
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

/** Answers whether one more fits into the present stretch of `ms`. */
function createBudget(most: number, ms: number): (time: number) => boolean {
  let [stretch, used] = [0, 0];
  return (time) => {
    const present = Math.floor(time / ms);
    if (present !== stretch) [stretch, used] = [present, 0];
    return used++ < most;
  };
}

/** What is no serial may be anything, and is nothing that could be looked for. */
function named(serial: string): { serial?: string } {
  return isSerial(serial) ? { serial } : {};
}

import type { Problem } from '../protocol/problems.ts';
import type { Audit } from '../runtime/audit.ts';

/** So many refusals a second are recorded one by one; a flood is recorded by its size, so that it cannot fill the disk. */
const perSecond = 10;
const summaryMs = 10_000;

/** Records what the broker itself refuses. */
export function createRefusalRecord(audit: Audit, now: () => number) {
  let second = 0;
  let inSecond = 0;
  let beyond: Partial<Record<string, number>> = {};
  const timer = setInterval(flush, summaryMs);
  timer.unref();

  function flush(): void {
    if (Object.keys(beyond).length === 0) return;
    audit.record('refused-flood', { byCode: beyond, ofLastSeconds: summaryMs / 1000 });
    beyond = {};
  }

  return {
    refused(serial: string, remoteAddress: string | undefined, { code }: Problem): void {
      const current = Math.floor(now() / 1000);
      if (current !== second) [second, inSecond] = [current, 0];
      if (inSecond++ < perSecond) audit.record('refused', { serial: named(serial), remoteAddress, errorCode: code });
      else beyond[code] = (beyond[code] ?? 0) + 1;
    },
    close(): void {
      clearInterval(timer);
      flush();
    },
  };
}

export type RefusalRecord = ReturnType<typeof createRefusalRecord>;

/** What is no serial may be anything, of any length. */
function named(serial: string): string {
  return serial.slice(0, 128);
}

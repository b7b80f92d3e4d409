import { createLog } from '../../runtime/log.ts';
import type { Audit } from '../../telemetry/audit-events.ts';

export type Recorded = Readonly<Record<string, unknown>> & { readonly event: string };

/** An audit trail and a log in memory. `lines`: those of the log, from `info` on. */
export function createRecorder() {
  const records: Recorded[] = [];
  const lines: string[] = [];
  const audit: Audit = {
    record: (event, fields) => void records.push({ ...fields, event }),
    trouble: () => undefined,
    async close() {},
  };
  const log = createLog('info', { write: (line: string) => void lines.push(line) });
  return { audit, log, records, lines: () => lines.map((line): Record<string, unknown> => JSON.parse(line)) };
}

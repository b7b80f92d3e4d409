import type { Answer } from '../protocol/answer.ts';
import type { ErrorCode } from '../protocol/problems.ts';

/** What happened since the start. No serials: counters may be shown to anybody who may see the console. */
export function createCounters() {
  const refusals: Partial<Record<ErrorCode, number>> = {};
  const counts = { connections: 0, connectionsOpen: 0, requests: 0, stored: 0, accepted: 0 };
  const refused = (code: ErrorCode) => {
    refusals[code] = (refusals[code] ?? 0) + 1;
  };
  return {
    counts,
    refused,
    answered(answer: Answer): void {
      if (answer.status === 'accepted') counts.accepted++;
      if (answer.status === 'rejected') refused(answer.problem.code);
    },
    snapshot: () => ({ ...counts, refusals: { ...refusals } }),
  };
}

export type Counters = ReturnType<typeof createCounters>;

import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { ApiError } from './errors.ts';

const rule = z.strictObject({
  /** an operation's name, `DynamoDB`, `DynamoDB.UpdateItem` and so on, or `*` */
  operation: z.string(),
  kind: z.enum(['fail-before', 'act-and-lose-answer', 'stall', 'throttle', 'latency']),
  /** probability, 0 to 1; 1 when absent */
  probability: z.number().min(0).max(1).optional(),
  /** the most times that it strikes */
  times: z.number().int().positive().optional(),
  /** for stall and latency */
  ms: z.number().int().nonnegative().optional(),
  status: z.number().int().optional(),
  errorName: z.string().optional(),
});

export type FaultRule = z.infer<typeof rule>;

/** Faults that can be set while the stand-in runs. */
export function createFaults(random: () => number = Math.random) {
  let rules: (FaultRule & { left: number })[] = [];
  const struck = new Map<string, number>();

  function strikes(operation: string): FaultRule[] {
    return rules.filter((candidate) => {
      const meant =
        candidate.operation === '*' ||
        candidate.operation === operation ||
        operation.startsWith(`${candidate.operation}.`);
      if (!meant || candidate.left <= 0 || random() >= (candidate.probability ?? 1)) return false;
      candidate.left--;
      const counted = `${operation} ${candidate.kind}`;
      struck.set(counted, (struck.get(counted) ?? 0) + 1);
      return true;
    });
  }

  return {
    /** Replaces all rules. @throws when one is not a rule */
    set(next: readonly unknown[]): void {
      rules = z
        .array(rule)
        .parse(next)
        .map((each) => ({ ...each, left: each.times ?? Number.POSITIVE_INFINITY }));
    },
    /** how often each kind struck each operation: `<operation> <kind>` → times */
    struck: (): Record<string, number> => Object.fromEntries(struck),
    get: (): FaultRule[] => rules.map(({ left: _left, ...each }) => each),
    /** Applies the faults of a call. @returns whether its answer must be lost @throws the error that AWS would answer */
    async strike(operation: string): Promise<{ loseAnswer: boolean }> {
      let loseAnswer = false;
      for (const fault of strikes(operation)) {
        if (fault.kind === 'latency') await sleep(fault.ms ?? 100);
        if (fault.kind === 'stall') await sleep(fault.ms ?? 60_000, undefined, { ref: false });
        if (fault.kind === 'throttle') throw throttled(operation);
        if (fault.kind === 'fail-before')
          throw new ApiError(
            fault.errorName ??
              (operation.startsWith('DynamoDB') ? 'InternalServerError' : 'ServiceUnavailableException'),
            'fault: failed before acting',
            fault.status ?? (operation.startsWith('DynamoDB') ? 500 : 503),
          );
        if (fault.kind === 'act-and-lose-answer') loseAnswer = true;
      }
      return { loseAnswer };
    },
  };
}

export type Faults = ReturnType<typeof createFaults>;

export function throttled(operation: string): ApiError {
  return operation.startsWith('DynamoDB')
    ? new ApiError('ProvisionedThroughputExceededException', 'Rate exceeded', 400)
    : new ApiError('ThrottlingException', 'Rate exceeded');
}

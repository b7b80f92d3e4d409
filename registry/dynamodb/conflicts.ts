import { setTimeout as sleep } from 'node:timers/promises';
import { awsErrorName } from '../../aws/errors.ts';

/**
 * A transaction and a write that meet at one item: DynamoDB refuses one of them, and did nothing. The SDK does not repeat it.
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-conflict-handling
 */
const conflicts = new Set(['TransactionConflictException', 'TransactionInProgressException']);

const tries = 8;

/** Random, so that the two do not meet again. @param count of the waits before. Milliseconds */
const jitter = (count: number): Promise<unknown> => sleep(Math.random() * Math.min(500, 15 * 2 ** count));

/** Makes a call again that met a transaction; at most a few times, for some two seconds. */
export async function untilNoConflict<T>(call: () => Promise<T>, wait = jitter): Promise<T> {
  for (let count = 0; ; count++)
    try {
      return await call();
    } catch (error) {
      if (count + 1 >= tries || !(conflicts.has(awsErrorName(error)) || isConflict(error))) throw error;
      await wait(count);
    }
}

const isConflict = (error: unknown): boolean => reasonsOf(error).includes('TransactionConflict');

/** Why DynamoDB cancelled a transaction, action by action; [] for any other error. */
export function reasonsOf(error: unknown): readonly string[] {
  if (awsErrorName(error) !== 'TransactionCanceledException') return [];
  const { CancellationReasons: reasons = [] } = error as { CancellationReasons?: readonly { Code?: string }[] };
  return reasons.map(({ Code = '' }) => Code);
}

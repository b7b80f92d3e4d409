import { setTimeout as sleep } from 'node:timers/promises';
import { awsErrorName } from '../aws/errors.ts';

/** For `.catch`: answers undefined for this error, and throws every other one again. */
export function ignore(expected: string) {
  return (error: unknown): undefined => {
    if (awsErrorName(error) !== expected) throw error;
  };
}

/** The same for a thing, certificate or policy that is not there. */
export function ignoreNotFound(error: unknown): undefined {
  return ignore('ResourceNotFoundException')(error);
}

/** AWS IoT is eventually consistent: repeats a call while its error is one that passes by itself, for at most `forMs`. */
export async function retryWhile<T>(call: () => Promise<T>, passing: readonly string[], forMs: number): Promise<T> {
  const deadline = performance.now() + forMs;
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2000)) {
    try {
      return await call();
    } catch (error) {
      if (!passing.includes(awsErrorName(error)) || performance.now() + waitMs > deadline) throw error;
      await sleep(waitMs);
    }
  }
}

/** As Promise.all, but when it throws, none of the calls is still under way: the caller can undo all of them. */
export async function together(calls: readonly (Promise<unknown> | undefined)[]): Promise<void> {
  const failed = (await Promise.allSettled(calls)).find((outcome) => outcome.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

import { setTimeout as sleep } from 'node:timers/promises';
import { awsErrorName } from './errors.ts';

/** AWS is eventually consistent: repeats a call while its error is one that passes by itself, for at most `forMs`. */
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

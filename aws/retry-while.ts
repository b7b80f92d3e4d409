import { setTimeout as sleep } from 'node:timers/promises';
import { awsErrorName } from './errors.ts';

/** AWS settles within a second as a rule: an error that stays for longer may not pass by itself. Milliseconds. */
const usuallyPassedMs = 1000;

/**
 * AWS is eventually consistent: repeats a call while its error is one that passes by itself, for at most `forMs`.
 * @param onLasting is called with the error, once, where it stays for longer than usual; the call is repeated all the same
 */
export async function retryWhile<T>(
  call: () => Promise<T>,
  passing: readonly string[],
  forMs: number,
  onLasting?: (error: unknown) => void,
): Promise<T> {
  const began = performance.now();
  const deadline = began + forMs;
  let tell = onLasting;
  for (let waitMs = 100; ; waitMs = Math.min(waitMs * 2, 2000)) {
    try {
      return await call();
    } catch (error) {
      if (!passing.includes(awsErrorName(error)) || performance.now() + waitMs > deadline) throw error;
      if (performance.now() - began >= usuallyPassedMs) {
        tell?.(error);
        tell = undefined;
      }
      await sleep(waitMs);
    }
  }
}

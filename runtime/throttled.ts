import { UpstreamThrottled } from './upstream.ts';

/** Waits between tries double from the first of these to the second, in milliseconds; after the third in all, the call fails. */
const [firstWaitMs, longestWaitMs, patienceMs] = [200, 20_000, 900_000];

/**
 * Repeats a call for as long as the service says that it has too much to do: for a long run of a person, which is better late than
 * ended.
 */
export async function untilTaken<T>(
  act: () => Promise<T>,
  wait: (ms: number) => Promise<unknown>,
  onWait?: () => void,
): Promise<T> {
  for (let [pauseMs, waitedMs] = [firstWaitMs, 0]; ; pauseMs = Math.min(2 * pauseMs, longestWaitMs)) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof UpstreamThrottled) || waitedMs >= patienceMs) throw error;
      onWait?.();
      await wait(pauseMs);
      waitedMs += pauseMs;
    }
  }
}

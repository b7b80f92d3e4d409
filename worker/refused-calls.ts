import type { Log } from '../runtime/log.ts';
import type { UpstreamRefused } from '../runtime/upstream.ts';

/** How often each refusal is said, in milliseconds. */
const everyMs = 60_000;

export type RefusedCalls = ReturnType<typeof createRefusedCalls>;

/**
 * Logs calls that AWS refuses until a person acts, with the cure: each cure once a minute, however many requests it concerns.
 * @param elapsed milliseconds of a clock that only goes forward
 */
export function createRefusedCalls(log: Log, elapsed: () => number = () => performance.now()) {
  /** by cure: when it was said, and how many requests it has concerned since */
  const said = new Map<string, { readonly at: number; requests: number }>();
  return {
    say(about: object, refusal: UpstreamRefused): void {
      const { cure } = refusal;
      const [before, now] = [said.get(cure), elapsed()];
      const isNew = before === undefined || now - before.at >= everyMs;
      const line = { ...about, requests: (before?.requests ?? 0) + 1, err: refusal, cure };
      if (isNew) said.set(cure, { at: now, requests: 0 });
      else before.requests++;
      log[isNew ? 'error' : 'debug'](line, 'AWS refuses, until the cure is applied');
    },
  };
}

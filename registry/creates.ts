import type { CreateIntent } from './registry.ts';

/** So many create calls without an outcome a row remembers; a certificate of an older one is reported, not deleted. */
export const createsLimit = 200;

/** The attempt whose create call a row forgets when it notes another one; undefined while there is room. */
export function oldestBeyondLimit(createIntents: Readonly<Record<string, CreateIntent>> = {}): string | undefined {
  const attempts = Object.keys(createIntents);
  if (attempts.length < createsLimit) return undefined;
  return attempts.reduce((oldest, attempt) => (Number(attempt) < Number(oldest) ? attempt : oldest));
}

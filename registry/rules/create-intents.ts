import type { CreateIntent } from '../device.ts';

/** How many create calls without an outcome a row remembers. The sweep reports a certificate of an older one, and does not delete it. */
export const createIntentsLimit = 200;

/** The attempt whose create call a row forgets when it notes another one; undefined while there is room. */
export function oldestBeyondLimit(createIntents: Readonly<Record<string, CreateIntent>> = {}): string | undefined {
  const attempts = Object.keys(createIntents);
  if (attempts.length < createIntentsLimit) return undefined;
  return attempts.reduce((oldest, attempt) => (Number(attempt) < Number(oldest) ? attempt : oldest));
}

import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';
import type { Finding, SweepRun } from './sweep-findings.ts';

/** So many unexpected errors one after the other are no fault of a single row. */
const failuresInARow = 3;

/**
 * Runs one step of a sweep. A step that fails is reported, with the cure where AWS names a cause, and the sweep goes on: one
 * row must not keep it from all others. The next sweep tries the step again.
 * @throws where AWS is away or busy: all further steps would fail as well
 */
export async function repair(
  { report, failures }: SweepRun,
  about: Pick<Finding, 'serial' | 'certificateId'>,
  step: () => Promise<void>,
): Promise<void> {
  try {
    await step();
    failures.inARow = 0;
  } catch (error) {
    if (error instanceof UpstreamThrottled || error instanceof UpstreamUnreachable) throw error;
    const refused = error instanceof UpstreamRefused;
    if (!refused && ++failures.inARow >= failuresInARow) throw error;
    if (about.serial !== undefined) failures.serials.add(about.serial);
    const reason = error instanceof Error ? error.message : String(error);
    report({
      kind: 'repair-failed',
      ...about,
      action: 'reported',
      cure: refused ? `${reason}: ${error.cure}` : reason,
    });
  }
}

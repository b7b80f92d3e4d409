import { UpstreamRefused, UpstreamThrottled, UpstreamUnreachable } from '../runtime/upstream.ts';
import type { Finding, SweepRun } from './sweep-findings.ts';

/** After so many unexpected errors one after the other, AWS is asked whether it is there at all. */
const failuresInARow = 3;

/**
 * Runs one step of a sweep. A step that fails is reported, with the cure where AWS names a cause, and the sweep goes on: rows that cannot be
 * repaired must not keep it from all others, at this sweep or at any later one. The next sweep tries the step again.
 * @returns undefined when the step failed
 * @throws where AWS is away or busy: all further steps would fail as well
 */
export async function repair<T>(
  run: Pick<SweepRun, 'report' | 'failures' | 'registry' | 'issuer'>,
  about: Pick<Finding, 'serial' | 'certificateId'>,
  step: () => Promise<T>,
): Promise<{ readonly result: T } | undefined> {
  const { report, failures } = run;
  try {
    const result = await step();
    failures.inARow = 0;
    return { result };
  } catch (error) {
    if (error instanceof UpstreamThrottled || error instanceof UpstreamUnreachable) throw error;
    const refused = error instanceof UpstreamRefused;
    if (!refused && ++failures.inARow >= failuresInARow) {
      if (!(await answers(run))) throw error;
      failures.inARow = 0;
    }
    if (about.serial !== undefined) failures.serials.add(about.serial);
    const reason = error instanceof Error ? error.message : String(error);
    report({
      kind: 'repair-failed',
      ...about,
      action: 'reported',
      cure: refused ? `${reason}: ${error.cure}` : reason,
    });
    return undefined;
  }
}

/** Whether table and IoT Core answer to calls that are about no device. */
async function answers({ registry, issuer }: Pick<SweepRun, 'registry' | 'issuer'>): Promise<boolean> {
  try {
    await registry.find('sweep-asks-whether-the-table-answers');
    for await (const _any of issuer.listCertificates()) break;
    return true;
  } catch {
    return false;
  }
}

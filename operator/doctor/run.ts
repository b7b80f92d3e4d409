import { within } from '../../runtime/deadline.ts';
import { errorText, systemCure } from '../../runtime/errors.ts';
import { cureOf } from '../../runtime/upstream.ts';
import { forEachBounded } from '../bounded.ts';
import { type Check, type Finding, type Verdict, warn } from './check.ts';
import type { DoctorSources, Part } from './sources.ts';

/** Milliseconds for all checks together, and how many run at a time. */
const [allMs, atATime] = [12_000, 8];

export type Selection = {
  /** only what looks at this machine, its files and its Redis */
  readonly quick: boolean;
  readonly parts: readonly Part[];
  /** mends what can be mended without a person */
  readonly fix: boolean;
};

export const selected = (
  all: readonly Check[],
  { quick, parts }: Pick<Selection, 'quick' | 'parts'>,
): readonly Check[] =>
  all.filter((check) => (!quick || check.quick) && check.parts.some((part) => parts.includes(part)));

/**
 * Runs the checks side by side, and yields what they find in their order. It never throws, and never takes longer than `ms`: a check
 * that has no outcome by then says so.
 */
export async function runChecks(
  some: readonly Check[],
  sources: DoctorSources,
  { fix, ms = allMs }: { readonly fix: boolean; readonly ms?: number },
): Promise<readonly Finding[]> {
  const found = new Map<Check, readonly Finding[]>();
  const deadline = performance.now() + ms;
  await forEachBounded(some, atATime, async (check) => {
    const verdicts = await look(check, sources, deadline - performance.now());
    const findings: Finding[] = [];
    for (const verdict of verdicts) findings.push(await findingOf(check, verdict, fix));
    found.set(check, findings);
  });
  return some.flatMap((check) => found.get(check) ?? []);
}

async function look(check: Check, sources: DoctorSources, ms: number): Promise<readonly Verdict[]> {
  try {
    return await within(Math.max(1, Math.round(ms)), check.id, check.look(sources));
  } catch (error) {
    const cure =
      cureOf(error) ?? systemCure(error) ?? 'run it again; where it stays so, look at the network and at the log';
    return [warn({ seen: `it could not be looked at: ${errorText(error)}`, cure })];
  }
}

async function findingOf({ id, title }: Check, { mend, ...verdict }: Verdict, fix: boolean): Promise<Finding> {
  const finding = { id, title, ...verdict, fixable: mend !== undefined };
  if (!fix || mend === undefined) return finding;
  try {
    return { ...finding, fix: `mended: ${await mend()}` };
  } catch (error) {
    return { ...finding, fix: `could not be mended: ${errorText(error)}` };
  }
}

/** Mended findings are well; a warning leaves time. */
export const isWell = (findings: readonly Finding[]): boolean =>
  findings.every(({ outcome, fix }) => outcome !== 'fail' || fix?.startsWith('mended') === true);

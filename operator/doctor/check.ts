import type { DoctorSources, Part } from './sources.ts';

/** One thing that was found. `docs/doctor.md` lists the checks. */
export type Finding = {
  /** of the check */
  readonly id: string;
  readonly title: string;
  /** `warn`: works now, and will not in some case. `skipped`: could not be looked at, or does not apply; `seen` says why */
  readonly outcome: 'ok' | 'warn' | 'fail' | 'skipped';
  readonly seen: string;
  /** why it is so, or what follows from it */
  readonly cause?: string;
  /** what to do; always there for `warn` and `fail` */
  readonly cure?: string;
  /** `cvm doctor --fix` does it */
  readonly fixable: boolean;
  /** with `--fix`: what was done, or why it could not be */
  readonly fix?: string;
};

export type Verdict = Pick<Finding, 'outcome' | 'seen' | 'cause' | 'cure'> & {
  /** Mends it. @returns what was done @throws when it cannot be done */
  readonly mend?: () => Promise<string>;
};

export type Check = {
  readonly id: string;
  readonly title: string;
  /** for the table of docs/doctor.md: what is bad, and what is done about it */
  readonly finds: string;
  /** on whose machine it makes sense */
  readonly parts: readonly Part[];
  /** it looks at this machine, its files and its Redis only: `--quick` */
  readonly quick: boolean;
  /** said at the start of a part: what the start itself does not say already */
  readonly atStart: boolean;
  /** whether `--fix` can mend what it finds */
  readonly fixes?: true;
  look(sources: DoctorSources): Promise<readonly Verdict[]>;
};

export const parts: readonly Part[] = ['broker', 'worker'];

export const ok = (seen: string): Verdict => ({ outcome: 'ok', seen });
export const skipped = (seen: string): Verdict => ({ outcome: 'skipped', seen });

type Bad = {
  readonly seen: string;
  readonly cause?: string;
  readonly cure: string;
  readonly mend?: () => Promise<string>;
};
export const warn = (bad: Bad): Verdict => ({ outcome: 'warn', ...bad });
export const fail = (bad: Bad): Verdict => ({ outcome: 'fail', ...bad });

import type { Observation } from './observation.ts';
import type { Profile } from './profile.ts';
import type { Finding } from './rules.ts';
import type { Script } from './script.ts';

/** What is known of the device when a run of a case is judged. */
export type Judged = {
  readonly observation: Observation;
  /** the certificate of the device in the table, after the case; undefined where none was vended */
  readonly certificateId: string | undefined;
  readonly profile: Profile | undefined;
};

/** One run of a case. */
export type Play = Script & {
  /** Whether all has happened that is to happen. What the device does in `lingerMs` after it is looked at as well. */
  done(observation: Observation): boolean;
  /** What is wrong with the device, beyond the habits that every case looks at. */
  judge(judged: Judged): Finding[];
};

export type Case = {
  /** as `--case` takes it, and as the name of the rule that the device breaks where it does not come through */
  readonly name: string;
  readonly level: 'mandatory' | 'advice';
  /** what the gateway does */
  readonly plays: string;
  /** what a device does that keeps to the protocol */
  readonly wants: string;
  readonly cure: string;
  readonly reference: string;
  /** after `done`, in milliseconds */
  readonly lingerMs: number;
  /** a program that ends is not started again: the gateway has refused for good */
  readonly endsAtRefusal?: boolean;
  /** needs a program that can be killed and started again */
  readonly needsProgram?: boolean;
  /** Why this case cannot be played with such a device; undefined where it can. */
  skip?(profile: Profile): string | undefined;
  play(context: PlayContext): Play;
};

export type PlayContext = {
  readonly observation: Observation;
  /** cuts the power of the device: kills its program, and starts it again after a second */
  powerCut(): void;
  /** An answer to a question for the time, signed by the gateway's key. `seconds`: of the epoch. @returns DER */
  signTime(nonce: string, seconds: number): Buffer;
};

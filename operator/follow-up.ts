import { cureOf } from '../runtime/upstream.ts';

/** The failures after a decision stood in the table. They do not undo the decision. */
export type FollowUp = {
  /**
   * why AWS IoT Core or the table failed. `block`, `unblock` and `remove`, run again, finish the work, and so does the sweep for
   * a block or a removal. After `reissue` the device's next request does; run again, it would make another token
   */
  readonly unfinished?: string;
  /** why the gateways could not be told; they notice the change by themselves within the hour */
  readonly unannounced?: string;
};

/** Runs every step that follows a decision. A step that fails does not keep the others from being tried. */
export async function followUp(steps: readonly (() => Promise<unknown>)[]): Promise<Pick<FollowUp, 'unfinished'>> {
  const reasons: string[] = [];
  for (const step of steps) await step().catch((error: unknown) => reasons.push(reasonOf(error)));
  return reasons.length === 0 ? {} : { unfinished: [...new Set(reasons)].join('; ') };
}

/** The message of an error, with its cure where one is known. */
export function reasonOf(error: unknown): string {
  const [message, cure] = [error instanceof Error ? error.message : String(error), cureOf(error)];
  return cure === undefined ? message : `${message} (${cure})`;
}

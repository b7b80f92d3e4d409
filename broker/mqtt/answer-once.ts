import type { Client } from 'aedes';
import { within } from '../../runtime/deadline.ts';
import type { Log } from '../../runtime/log.ts';

type Done<T> = (error: Error | undefined, outcome?: T) => void;

export type AnswerOnce = ReturnType<typeof createAnswerOnce>;

/**
 * Runs the work of an aedes hook to its end and calls aedes back exactly once. Three faults of a hook would be fatal: one that
 * throws ends the process, one that never calls back holds its connection for ever, and one that calls back twice sends two
 * answers. An error of aedes itself, thrown at the call back, ends this one connection.
 * @param options.hookMs the deadline of a hook that waits for something
 */
export function createAnswerOnce({ hookMs, log }: { hookMs: number; log: Log }) {
  function call(client: Client | null, hook: string, back: () => void): void {
    try {
      back();
    } catch (err) {
      log.error({ err, hook }, 'the MQTT broker threw; its connection is closed');
      (client?.conn as { destroy?(): void } | undefined)?.destroy?.();
    }
  }

  return {
    /** For a hook that waits for something. */
    async later<T>(client: Client | null, hook: string, work: () => Promise<T>, done: Done<T>): Promise<void> {
      const back = await within(hookMs, hook, Promise.resolve().then(work)).then(
        (outcome) => () => done(undefined, outcome),
        (error: unknown) => () => done(errorOf(error)),
      );
      call(client, hook, back);
    },
    /** For a hook that waits for nothing. */
    now<T>(client: Client, hook: string, work: () => T, done: Done<T>): void {
      let back: () => void;
      try {
        const outcome = work();
        back = () => done(undefined, outcome);
      } catch (error) {
        back = () => done(errorOf(error));
      }
      call(client, hook, back);
    },
    /** For an event of a connection, of which nothing comes back. */
    guard: call,
  };
}

function errorOf(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error));
}

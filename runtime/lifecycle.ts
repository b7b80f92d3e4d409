import { constants } from 'node:os';
import { within } from './deadline.ts';
import type { Log } from './log.ts';

/** A part of the process that holds something open: a port, a connection, a timer, a file. */
export type Part = { readonly name: string; close(): Promise<void> };

/**
 * Milliseconds: all parts together may take so long to close, and each at least so long. Both are over before Docker kills a container that it
 * stops, after 10 s. What is cut off was not promised to anybody: whatever ends a process, the next one goes on from what is stored.
 */
const usualTimes = { graceMs: 8000, leastMs: 250 };

/**
 * Keeps the parts that were started and closes them in reverse order, since a later part depends on earlier ones. Closing
 * twice is closing once. A part that fails to close, or waits for a service that does not answer, does not keep the others open.
 */
export function createLifecycle(log: Log, { graceMs, leastMs } = usualTimes, reopenLog?: () => void) {
  const hangUps: (() => void)[] = reopenLog === undefined ? [] : [reopenLog];
  const parts: Part[] = [];
  /** A log that cannot be opened anew goes on where it is. */
  const hangUp = () => {
    for (const each of hangUps)
      try {
        each();
      } catch (err) {
        log.error({ err }, 'the log could not be opened anew; it goes on in the file as it was');
      }
  };
  const failed = createFailure();
  const stopped = new AbortController();
  let closing: Promise<void> | undefined;

  async function closeAll(): Promise<void> {
    const deadline = performance.now() + graceMs;
    for (const part of parts.reverse()) await closeOne(part, deadline - performance.now());
  }

  async function closeOne(part: Part, ms = 0): Promise<void> {
    try {
      await within(Math.max(leastMs, ms), `closing ${part.name}`, part.close());
      log.debug({ part: part.name }, 'closed');
    } catch (err) {
      log.error({ part: part.name, err }, 'did not close cleanly');
    }
  }

  return {
    /** A part that is ready only after the closing began is closed at once. */
    add<T extends Part>(part: T): T {
      if (closing === undefined) parts.push(part);
      else closing = closing.then(() => closeOne(part));
      return part;
    },
    close(): Promise<void> {
      closing ??= closeAll();
      return closing;
    },
    /**
     * Waits for the start of a service, or for a signal that comes meanwhile: a broker waits in its start for as long as
     * Redis is away. @returns the signal, if one came first. @throws when the start fails
     */
    async started(start: Promise<unknown>, signal: Promise<NodeJS.Signals>): Promise<NodeJS.Signals | undefined> {
      // after a signal the result of the start is not awaited any more
      start.catch(() => {});
      return Promise.race([signal, start.then(() => undefined)]);
    },
    /** A part cannot go on, and the process is of no use without it: `untilEnd` rejects. */
    fail(error: Error): void {
      failed.reject(error);
    },
    /** Ends the process as a first SIGTERM does; nothing where it is ending already. */
    stop(): void {
      stopped.abort();
    },
    /** Does what SIGHUP asks for where the log is a file: it is opened anew. */
    hangUp,
    /** For what else must be told of it: other processes that write to the same file. */
    onHangUp(told: () => void): void {
      hangUps.push(told);
    },
    /**
     * Resolves at SIGINT, SIGTERM or SIGHUP (the terminal was closed); a second signal ends the process at once. Where the log is a file, SIGHUP ends
     * nothing: it is how logrotate says that the file was moved away.
     * @throws the error of a part that failed
     */
    untilEnd(): Promise<NodeJS.Signals> {
      const signal = new Promise<NodeJS.Signals>((resolve) => {
        const signals = reopenLog === undefined ? endSignals : endSignals.filter((name) => name !== 'SIGHUP');
        if (reopenLog !== undefined) process.on('SIGHUP', hangUp);
        for (const name of signals) process.on(name, first);
        stopped.signal.addEventListener('abort', () => resolve('SIGTERM'));
        function first(name: NodeJS.Signals): void {
          for (const each of signals)
            process.off(each, first).once(each, (second) => process.exit(128 + constants.signals[second]));
          resolve(name);
        }
      });
      const end = Promise.race([signal, failed.promise]);
      // a process whose start failed does not wait for its end
      end.catch(() => {});
      return end;
    },
  };
}

const endSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** A promise that can only reject. It may reject before any code awaits it. */
function createFailure() {
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<never>((_resolve, fail) => {
    reject = fail;
  });
  promise.catch(() => {});
  return { promise, reject };
}

export type Lifecycle = ReturnType<typeof createLifecycle>;

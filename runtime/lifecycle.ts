import type { Log } from './log.ts';

/** A part of the process that holds something open: a port, a connection, a timer, a file. */
export type Part = { readonly name: string; close(): Promise<void> };

/**
 * Keeps the parts that were started and closes them in reverse order, since a later part depends on earlier ones. Closing
 * twice is closing once. A part that fails to close does not keep the others open.
 */
export function createLifecycle(log: Log) {
  const parts: Part[] = [];
  let closing: Promise<void> | undefined;

  async function closeAll(): Promise<void> {
    for (const part of parts.reverse()) await closeOne(part);
  }

  async function closeOne(part: Part): Promise<void> {
    try {
      await part.close();
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
      // after a signal nobody waits for the start any more
      start.catch(() => {});
      return Promise.race([signal, start.then(() => undefined)]);
    },
    /** Resolves at SIGINT or SIGTERM; a second signal ends the process at once. */
    untilSignal(): Promise<NodeJS.Signals> {
      return new Promise((resolve) => {
        const first = (signal: NodeJS.Signals) => {
          process.off('SIGINT', first).off('SIGTERM', first);
          process.once('SIGINT', () => process.exit(130)).once('SIGTERM', () => process.exit(143));
          resolve(signal);
        };
        process.on('SIGINT', first).on('SIGTERM', first);
      });
    },
  };
}

export type Lifecycle = ReturnType<typeof createLifecycle>;

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
    for (const part of parts.reverse()) {
      try {
        await part.close();
        log.debug({ part: part.name }, 'closed');
      } catch (err) {
        log.error({ part: part.name, err }, 'did not close cleanly');
      }
    }
  }

  return {
    add<T extends Part>(part: T): T {
      parts.push(part);
      return part;
    },
    close(): Promise<void> {
      closing ??= closeAll();
      return closing;
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

import { closeSync, openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** How often a pipe that is full is tried again, and how long for. Milliseconds. */
const [pauseMs, patienceMs] = [5, 1000];

/**
 * Writes each line before it returns. A line that cannot be written (the disk is full, the reader has gone or reads nothing) is dropped:
 * the log must not end or stop the gateway. The number of lines that were lost is written as soon as one can be written again.
 */
export function logTo(descriptor: number | (() => number), now: () => number = Date.now): DestinationStream {
  const current = typeof descriptor === 'number' ? () => descriptor : descriptor;
  let lost = 0;
  return {
    write(line) {
      try {
        if (lost > 0)
          writeAll(
            current(),
            `${JSON.stringify({ level: 40, time: new Date(now()).toISOString(), lost, msg: 'lines of the log were lost' })}\n`,
          );
        lost = 0;
        writeAll(current(), line);
      } catch {
        lost++;
      }
    },
  };
}

/** A log that is a file. `reopen` makes it go on in the file that has its name now: logrotate renames the one before. */
export type LogFile = DestinationStream & {
  /** @throws when it cannot be opened; the log goes on as it was */ reopen(): void;
};

/** Appends to a file that only its owner may read. @throws when it cannot be opened */
export function logToFile(file: string): LogFile {
  let descriptor = openSync(file, 'a', 0o600);
  return {
    ...logTo(() => descriptor),
    reopen() {
      const opened = openSync(file, 'a', 0o600);
      closeSync(descriptor);
      descriptor = opened;
    },
  };
}

function writeAll(descriptor: number, text: string): void {
  const bytes = Buffer.from(text);
  for (let at = 0, waited = 0; at < bytes.length; ) {
    try {
      at += writeSync(descriptor, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN' || waited >= patienceMs) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs);
      waited += pauseMs;
    }
  }
}

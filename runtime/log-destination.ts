import { openSync, writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

/** How often a pipe that is full is tried again, and how long for. Milliseconds. */
const [pauseMs, patienceMs] = [5, 1000];

/**
 * Writes each line before it returns. A line that cannot be written (the disk is full, the reader has gone or reads nothing) is dropped:
 * the log must not end or stop the gateway. The number of lines that were lost is written as soon as one can be written again.
 */
export function logTo(descriptor: number, now: () => number = Date.now): DestinationStream {
  let lost = 0;
  return {
    write(line) {
      try {
        if (lost > 0)
          writeAll(
            descriptor,
            `${JSON.stringify({ level: 40, time: now(), lost, msg: 'lines of the log were lost' })}\n`,
          );
        lost = 0;
        writeAll(descriptor, line);
      } catch {
        lost++;
      }
    },
  };
}

/** Appends to a file that only its owner may read. */
export function logToFile(file: string): DestinationStream {
  return logTo(openSync(file, 'a', 0o600));
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

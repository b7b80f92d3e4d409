import { accessSync, constants, statSync } from 'node:fs';
import { dirname } from 'node:path';
import { UsageError } from './usage-error.ts';

/**
 * SIGINT ends the run, and what is known by then is reported; so does SIGTERM, which timeout(1), CI and containers send. A second one ends
 * the process.
 */
export function untilInterrupted() {
  const controller = new AbortController();
  const statuses = { SIGINT: 130, SIGTERM: 143 } as const;
  let status = 0;
  const abort = (signal: keyof typeof statuses) => {
    status = statuses[signal];
    end();
    controller.abort();
  };
  const end = () => void process.off('SIGINT', abort).off('SIGTERM', abort);
  process.once('SIGINT', abort).once('SIGTERM', abort);
  return { signal: controller.signal, status: () => status, end };
}

/** @throws UsageError where a report could not be written at the end of a long run */
export function checkWritable(file: string): void {
  try {
    accessSync(dirname(file), constants.W_OK);
    if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) throw Object.assign(new Error(), { code: 'EISDIR' });
  } catch (error) {
    throw new UsageError(`${file} cannot be written (${(error as NodeJS.ErrnoException).code})`);
  }
}

import type { OperatorDeps } from '../../operator/deps.ts';

/** What the commands about devices get from outside. */
export type DevicesContext = {
  /** connects to the table and to AWS IoT Core; called by a command that runs, not by its help */
  operator(): OperatorDeps;
  /** one line of standard output */
  write(line: string): void;
};

import type { OperatorDeps } from '../../operator/deps.ts';

/** The arguments of the commands about devices. */
export type DevicesContext = {
  /** connects to the table and to AWS IoT Core; called by a command that runs, not by its help */
  operator(): OperatorDeps;
  /** one line of standard output */
  write(line: string): void;
};

import type { OperatorDeps } from '../../operator/deps.ts';
import type { Explanation } from '../../operator/explanation.ts';
import type { TakeoverDeps } from '../../operator/takeover.ts';
import type { SourceForm } from '../../registry/source-table.ts';
import type { Terminal } from '../table.ts';

/** The arguments of the commands about devices. */
export type DevicesContext = {
  /** connects to the table and to AWS IoT Core; called by a command that runs, not by its help */
  operator(): Promise<OperatorDeps>;
  /** as `operator`, for taking over a table */
  takeover(from: string, form: SourceForm | undefined, callsPerSecond: number): Promise<TakeoverDeps & OperatorDeps>;
  /** one line of standard output */
  write(line: string): void;
  /** why a device has no certificate, and what to do, as `cvm explain` says it */
  explain?(serial: string): Promise<Explanation>;
  /** where standard output is one */
  readonly terminal?: Terminal | undefined;
};

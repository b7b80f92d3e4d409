import type { Row } from './row.ts';
import { calls } from './rows/calls.ts';
import { connections } from './rows/connections.ts';
import { console } from './rows/console.ts';
import { cpu } from './rows/cpu.ts';
import { directory } from './rows/directory.ts';
import { fiveGateways } from './rows/gateways.ts';
import { latency } from './rows/latency.ts';
import { processes } from './rows/processes.ts';
import { quotaRows } from './rows/quota.ts';
import { simulator } from './rows/simulator.ts';
import { nat, storm } from './rows/storm.ts';
import { tables } from './rows/tables.ts';
import { waiting } from './rows/waiting.ts';
import { wire } from './rows/wire.ts';

/** In the order in which they run. */
export const rows: readonly Row[] = [
  ...quotaRows,
  fiveGateways,
  latency,
  calls,
  cpu,
  connections,
  processes,
  storm,
  nat,
  waiting,
  directory,
  console,
  tables,
  wire,
  simulator,
];

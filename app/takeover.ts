import type { AwsGate } from '../aws/gate.ts';
import { withThrottlingAwaited } from '../aws/patient-gate.ts';
import type { OperatorDeps } from '../operator/deps.ts';
import type { TakeoverDeps } from '../operator/takeover.ts';
import { createSourceTable } from '../registry/dynamodb/source-table.ts';
import type { SourceForm } from '../registry/source-table.ts';
import type { Audit } from '../telemetry/audit-events.ts';
import type { App } from './app.ts';
import { atRate, connectIssuer, connectTable, openTableToRead } from './aws.ts';
import { operatorOf } from './operator.ts';

/**
 * The arguments for taking over a table. Calls that AWS throttles are made again.
 * @param from the name of the table that is read
 * @param callsPerSecond of each operation of AWS IoT Core, and pages of the table
 */
export function connectTakeover(
  app: App,
  audit: Audit,
  {
    from,
    form,
    callsPerSecond,
    onWait,
  }: {
    readonly from: string;
    readonly form: SourceForm | undefined;
    readonly callsPerSecond: number;
    /** called before each wait for AWS */
    onWait(): void;
  },
): TakeoverDeps & OperatorDeps {
  const patiently = (gate: AwsGate) => withThrottlingAwaited(gate, onWait);
  const slowly = (gate: AwsGate) => patiently(atRate(callsPerSecond)(gate));
  const table = connectTable(app, 'operator', patiently);
  const issuer = connectIssuer(app, 'operator', slowly);
  return {
    ...operatorOf(app, audit, table, issuer),
    source: createSourceTable(openTableToRead(app, from, slowly), form),
  };
}

import type { AwsGate } from '../aws/gate.ts';
import { createGovernor } from '../aws/governor.ts';
import type { App } from './app.ts';

/** The share of each rate for tasks and commands: 2 of 10 calls a second. */
export const taskShare = 0.2;

/** For a command, which has no Redis: a share of the quotas, for itself alone. */
export function inOperatorsShare({ settings, log, metrics }: App): (gate: AwsGate) => AwsGate {
  const limits = Object.entries(settings.awsQuotas).map(([operation, rate]) => [operation, rate * taskShare] as const);
  const governor = createGovernor({ limits: Object.fromEntries(limits), log, metrics });
  return (gate) => governor.forTask(gate, 1);
}

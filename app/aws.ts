import { connectDynamoDb, connectIot } from '../aws/client.ts';
import type { IamRole } from '../aws/iam-policy.ts';
import { createAwsIssuer } from '../issuer/aws-iot.ts';
import type { Issuer } from '../issuer/issuer.ts';
import { ensurePolicy } from '../issuer/setup.ts';
import { type Changes, createDynamoChanges } from '../registry/changes.ts';
import { createDynamoRegistry } from '../registry/dynamodb.ts';
import { createDynamoGateways, type Gateways } from '../registry/gateways.ts';
import type { Registry } from '../registry/registry.ts';
import { ensureTable } from '../registry/setup.ts';
import { createDynamoSweepLease, type SweepLease } from '../registry/sweep-lease.ts';
import type { Settings } from '../runtime/settings.ts';
import type { App } from './app.ts';

/** The association table in DynamoDB, and what is kept beside its rows. */
export type Table = {
  readonly registry: Registry;
  readonly lease: SweepLease;
  readonly gateways: Gateways;
  readonly changes: Changes;
};

/** @param role whose IAM permissions the calls need */
export function connectTable({ settings, lifecycle }: App, role: IamRole): Table {
  const client = connectDynamoDb({ ...settings.aws, role });
  lifecycle.add({ name: 'dynamodb', close: async () => client.destroy() });
  return {
    registry: createDynamoRegistry(client, settings.table),
    lease: createDynamoSweepLease(client, settings.table),
    gateways: createDynamoGateways(client, settings.table),
    changes: createDynamoChanges(client, settings.table),
  };
}

/** @param callsPerSecond of each operation, for a task that leaves the rest of the account's quotas to others */
export function connectIssuer({ settings, log, lifecycle }: App, role: IamRole, callsPerSecond?: number): Issuer {
  const quota = callsPerSecond === undefined ? {} : { callsPerSecond };
  const issuer = createAwsIssuer({ ...settings.aws, log, role, ...quota });
  lifecycle.add({ name: 'aws-iot', close: async () => issuer.close() });
  return issuer;
}

/** Table and policy exist afterwards. @returns for each, whether it was made now */
export async function setUpAws(settings: Settings): Promise<Record<string, 'created' | 'exists'>> {
  const options = { ...settings.aws, role: 'setup' } as const;
  const [dynamo, iot] = [connectDynamoDb(options), connectIot(options)];
  try {
    const [table, policy] = await Promise.all([
      ensureTable(dynamo, settings.table),
      ensurePolicy(iot, settings.policyName),
    ]);
    return { [`table ${settings.table}`]: table, [`IoT policy ${settings.policyName}`]: policy };
  } finally {
    dynamo.destroy();
    iot.destroy();
  }
}

import { homedir } from 'node:os';
import { join } from 'node:path';
import { findAccess, unreadableProfileFiles } from '../aws/access.ts';
import { withCallMetrics } from '../aws/call-metrics.ts';
import { withCallQuota } from '../aws/call-quota.ts';
import { withCallSpans } from '../aws/call-spans.ts';
import { type AwsClientOptions, connectDynamoDb } from '../aws/client.ts';
import { type AwsGate, createAwsGate } from '../aws/gate.ts';
import type { IamRole } from '../aws/iam-policy.ts';
import { withTrouble } from '../aws/trouble.ts';
import { createAwsIssuer } from '../issuer/aws-iot.ts';
import { createAwsConnectivity } from '../issuer/aws-iot-connectivity.ts';
import type { Connectivity } from '../issuer/connectivity.ts';
import { connectIotClients, type IotCalls, openIot } from '../issuer/iot-calls.ts';
import type { Issuer } from '../issuer/issuer.ts';
import { type AssociationTable, createAssociationTable } from '../registry/dynamodb/association-table.ts';
import { guardedTable } from '../registry/dynamodb/guarded-table.ts';
import { type DynamoTable, openDynamoTable } from '../registry/dynamodb/table.ts';
import type { Settings } from '../runtime/settings.ts';
import { SettingsError } from '../runtime/settings-error.ts';
import type { App } from './app.ts';
import { type AwsInUse, absentProfile, awsInUse, cluesOf, mixedAws, twoCredentials } from './which-aws.ts';

/** How a task passes the gate: slowly, say. */
type GateWrapper = (gate: AwsGate) => AwsGate;
const asItIs: GateWrapper = (gate) => gate;

/** @param role whose IAM permissions the calls need */
export function connectTable(
  app: App,
  role: IamRole,
  wrap: GateWrapper = asItIs,
  patience: Patience = {},
): AssociationTable {
  const table = openTable(app, role, wrap, { patience });
  const written = role === 'operator' ? guardedTable(table, app.settings.table) : table;
  return createAssociationTable(written, undefined, app.awsTime.now);
}

/** For what looks at a table rather than at its rows. @param client one of the caller's, which it closes */
export function openTableFor(app: App, role: IamRole, client?: DynamoDBClient, patience: Patience = {}) {
  const used = client ?? closedWithApp(app, connectDynamoDb({ ...clientOptions(app, role), ...patience }));
  const gate = gateOf(app, () => used.config.region());
  return { table: openDynamoTable(used, app.settings.table, gate), gate };
}

/** How long a caller waits for AWS; the client's own patience where it does not say. */
type Patience = Pick<AwsClientOptions, 'answerMs' | 'maxAttempts'>;
type DynamoDBClient = ReturnType<typeof connectDynamoDb>;

function closedWithApp(app: App, client: DynamoDBClient): DynamoDBClient {
  app.lifecycle.add({ name: 'dynamodb', close: async () => client.destroy() });
  return client;
}

/** A table that another tool filled. */
export function openTableToRead(app: App, name: string, wrap: GateWrapper): Pick<DynamoTable, 'scan'> {
  return openTable(app, 'operator', wrap, { other: name });
}

function openTable(
  app: App,
  role: IamRole,
  wrap: GateWrapper,
  { other, patience = {} }: { readonly other?: string; readonly patience?: Patience } = {},
): DynamoTable {
  const client = closedWithApp(app, connectDynamoDb({ ...clientOptions(app, role), ...patience }));
  const gate = gateOf(app, () => client.config.region(), other);
  return openDynamoTable(client, other ?? app.settings.table, wrap(gate));
}

function clientOptions({ settings, awsTime, awsConnections, awsCredentials }: App, role: IamRole): AwsClientOptions {
  return { credentials: awsCredentials, ...settings.aws, role, onDate: awsTime.hear, connections: awsConnections };
}

/** @param other a table that is not that of the devices */
function gateOf(
  { settings, metrics, tracing, awsTrouble }: App,
  region: () => Promise<string>,
  other?: string,
): AwsGate {
  const named = other === undefined ? { table: settings.table } : { table: other, tableOption: '--from-table' };
  const gate = withCallMetrics(createAwsGate({ ...named, region }), metrics);
  return withTrouble(withCallSpans(gate, tracing), awsTrouble);
}

/** For a task that leaves the rest of the account's quotas to others. @param callsPerSecond of each operation */
export const atRate =
  (callsPerSecond: number): GateWrapper =>
  (gate) =>
    withCallQuota(gate, callsPerSecond);

export function connectIssuer(app: App, role: IamRole, wrap: GateWrapper = asItIs): Issuer {
  return createAwsIssuer({ iot: iotFor(app, role, wrap), log: app.log });
}

/** The calls of AWS IoT Core themselves, for what looks at an account rather than vends. */
export function iotFor(app: App, role: IamRole, wrap: GateWrapper = asItIs, patience: Patience = {}): IotCalls {
  const clients = connectIotClients({ ...clientOptions(app, role), ...patience });
  app.lifecycle.add({ name: 'aws-iot', close: async () => clients.close() });
  return openIot(clients, wrap(gateOf(app, clients.region)));
}

/** Whether devices connected. It is asked past `awsTrouble`: where AWS refuses this, the gateway does all else that it should. */
export function connectConnectivity(app: App, wrap: GateWrapper): Connectivity {
  const clients = connectIotClients(clientOptions(app, 'gateway'));
  app.lifecycle.add({ name: 'aws-iot connectivity', close: async () => clients.close() });
  const gate = createAwsGate({ table: app.settings.table, region: clients.region });
  return createAwsConnectivity(openIot(clients, wrap(withCallMetrics(gate, app.metrics))));
}

/** `forSetup`: a person sets up the account. The role of `CVM_ROLE_ALIAS` is a gateway's and may not do that, so the set-up does not use it. */
type Asking = { readonly forSetup?: boolean };

/** How long a part that starts looks for its AWS account, in milliseconds. */
const lookMs = 5000;

/**
 * Says at info which AWS is used, before anything else. A service that cannot sign its calls to AWS must not look as if it worked. It starts all the same when its credentials
 * are configured and cannot be fetched just now: requests are stored, and answered later.
 * @throws SettingsError when there is no region, or there are no credentials, or settings of an account and of a stand-in are
 * mixed: with all of it at once
 */
export async function requireAws(
  { settings, log, awsConnections: connections, awsCredentials }: App,
  { forSetup = false }: Asking = {},
): Promise<AwsInUse> {
  const named = settings.awsVariables.length > 0;
  const credentials = forSetup ? undefined : awsCredentials;
  const { region, account, accessKeyId, missing, away, ...found } = await findAccess(
    { credentials, ...settings.aws, connections },
    { waitMs: lookMs, named },
  );
  const clues = cluesOf(settings);
  const endpoints = found.endpoints ?? clues.endpoints;
  const unreadable = missing.length === 0 ? [] : unreadableProfileFiles(join(homedir(), '.aws'));
  const problems = [
    ...absentProfile(settings),
    ...(forSetup ? [] : twoCredentials(settings)),
    ...missing,
    ...unreadable,
    ...mixedAws({ ...clues, endpoints, accessKeyId: accessKeyId ?? clues.accessKeyId }),
  ];
  if (problems.length > 0) throw new SettingsError(problems);
  const used = awsInUse(account, region, endpoints);
  log.info({ ...used, table: settings.table }, 'using AWS');
  if (away !== undefined)
    log.warn({ err: away }, 'the AWS credentials cannot be fetched now; requests wait until they can');
  return used;
}

/** The region that calls would go to: of the settings, or of the SDK's own chain. Makes no call. */
export async function findRegion({ aws }: Settings): Promise<string | undefined> {
  const client = connectDynamoDb(aws);
  try {
    return await client.config.region();
  } catch {
    return undefined;
  } finally {
    client.destroy();
  }
}
